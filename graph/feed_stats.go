package graph

// Stats are how many follow this process's feed, and its position in the feed of all.
func (f *Feed) Stats() (followers int, pos int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range f.followers {
		followers += len(of)
	}
	return followers, f.pos
}
