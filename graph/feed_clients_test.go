package graph

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Many subscribers are a process of their own, so that what is measured of memory is the server's: this binary again,
// told so by its environment.
const asClients = "TEST_FEED_CLIENTS" // "address transport subscribers changes"

func TestMain(m *testing.M) {
	work := os.Getenv(asClients)
	if work == "" {
		os.Exit(m.Run())
	}
	if err := clients(work); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// clients follow until each has had the changes with the versions from 1 on, in order, and write when each was received.
func clients(work string) error {
	var addr, transport string
	var subscribers, changes int
	if _, err := fmt.Sscan(work, &addr, &transport, &subscribers, &changes); err != nil {
		return err
	}
	at := make([][]int64, subscribers)
	failed := make(chan error, subscribers)
	var all sync.WaitGroup
	for i := range at {
		c, err := subscriber(addr, transport)
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
		at[i] = make([]int64, changes)
		all.Go(func() {
			for n := 0; n < changes; {
				text, err := c.next()
				if err != nil {
					failed <- fmt.Errorf("subscriber %d after %d: %w", i, n, err)
					return
				}
				_, rest, ok := bytes.Cut(text, []byte(`"version":`))
				if !ok {
					continue
				}
				at[i][n] = time.Now().UnixNano()
				if n++; strconv.Itoa(n) != string(rest[:bytes.IndexAny(rest, ",}")]) {
					failed <- fmt.Errorf("subscriber %d got %s instead of version %d", i, text, n)
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, times := range at {
		if err := binary.Write(out, binary.LittleEndian, times); err != nil {
			return err
		}
	}
	return nil
}

const tellVersion = "subscription{runUpdates{cursor change{version state step stepState at}}}"

// frames reads a websocket or events with as little work as it takes.
type frames struct {
	conn   net.Conn
	in     *bufio.Reader
	events bool
	buf    []byte
}

func subscriber(addr, transport string) (*frames, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &frames{conn: conn, in: bufio.NewReaderSize(conn, 2048), events: transport == "events"}
	if c.events {
		body := query(tellVersion)
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reader\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	} else {
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", protocol)
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	if c.events != (res.StatusCode == 200) || c.events == (res.StatusCode == 101) {
		return nil, fmt.Errorf("%s", res.Status)
	}
	if !c.events {
		c.send(hello)
		c.send(subscribeTo("1", tellVersion))
	}
	return c, nil
}

// send writes a masked frame, whose mask changes nothing.
func (c *frames) send(text string) {
	head := []byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}
	if len(text) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(text)))
		head = append(head, 0, 0, 0, 0)
	}
	_, _ = c.conn.Write(append(head, text...))
}

func (c *frames) next() ([]byte, error) {
	for {
		text, err := c.read()
		if err != nil || c.events || !bytes.Contains(text, []byte(`"type":"ping"`)) {
			return text, err
		}
		c.send(`{"type":"pong"}`)
	}
}

func (c *frames) read() ([]byte, error) {
	if c.events {
		return c.in.ReadSlice('\n')
	}
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return nil, err
	}
	size := int(head[1])
	if size == 126 {
		if _, err := io.ReadFull(c.in, head[2:]); err != nil {
			return nil, err
		}
		size = int(binary.BigEndian.Uint16(head[2:]))
	}
	if cap(c.buf) < size {
		c.buf = make([]byte, size)
	}
	_, err := io.ReadFull(c.in, c.buf[:size])
	if err == nil && head[0] != 0x81 {
		err = fmt.Errorf("closed: %q", c.buf[:size])
	}
	return c.buf[:size], err
}

// crowd is a process of subscribers.
type crowd struct {
	t   testing.TB
	cmd *exec.Cmd
	out bytes.Buffer
	err bytes.Buffer
}

func newCrowd(t testing.TB, url, transport string, subscribers, changes int) *crowd {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	_, addr, _ := strings.Cut(url, "://")
	c := &crowd{t: t, cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", asClients, addr, transport, subscribers, changes))
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.err
	check(t, c.cmd.Start())
	t.Cleanup(c.leave)
	return c
}

// leave goes as a process does that is killed.
func (c *crowd) leave() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// received waits until all have had all, and answers when, by subscriber and change.
func (c *crowd) received(changes int) [][]int64 {
	c.t.Helper()
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("%v: %s", err, c.err.String())
	}
	raw := c.out.Bytes()
	out := make([][]int64, len(raw)/8/changes)
	for i := range out {
		out[i] = make([]int64, changes)
		for n := range out[i] {
			out[i][n] = int64(binary.LittleEndian.Uint64(raw[(i*changes+n)*8:]))
		}
	}
	return out
}
