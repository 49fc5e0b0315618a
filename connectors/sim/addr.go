package sim

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

var addrs atomic.Int64

// FreeAddr is an address on loopback for a process of a test, at which it can listen again after it was killed. Its port is
// below those that systems give to whoever asks for any, or somebody else would have it by then.
func FreeAddr(t T) string {
	t.Helper()
	const low, many = 20_000, 10_000
	for range many {
		addr := fmt.Sprintf("127.0.0.1:%d", low+(int64(os.Getpid())*97+addrs.Add(1))%many) // processes begin far from each other
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatalf("no port from %d to %d is free", low, low+many-1)
	return ""
}
