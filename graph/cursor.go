package graph

import "strconv"

// feedCursor is a position of the feed as clients see it: every change up to it is known to who holds it.
func feedCursor(pos int64) string { return cursor(feedList, strconv.FormatInt(pos, 10)) }

const feedList = "feed"

// readFeedCursor reads what feedCursor wrote, and nothing else.
func readFeedCursor(c string) (int64, error) {
	key, err := readCursor(feedList, &c)
	if err != nil {
		return 0, err
	}
	pos, err := strconv.ParseInt(key, 10, 64)
	if err != nil || pos < 0 || feedCursor(pos) != c {
		return 0, failf(BadUserInput, "%.40q is not a cursor of the feed", c)
	}
	return pos, nil
}
