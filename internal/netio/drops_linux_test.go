package netio

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDrops floods a socket with little room: what was told to be dropped and
// what was received is what was sent.
func TestDrops(t *testing.T) {
	for _, c := range families {
		s := listen(t, c.listen).(*socket)
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8192); err != nil {
			t.Fatal(err)
		}
		client := dial(t, c.ask, s.LocalAddr().Port())
		b := NewBatch()
		lost, last := 0, uint64(0)
		for round := range 3 {
			const flood = 200
			for range flood {
				_, _ = client.Write(make([]byte, 48))
			}
			time.Sleep(time.Millisecond) // the flood is over, also on a busy machine
			received, ended := 0, false
			for first := true; !ended; first = false {
				n, err := s.Receive(b)
				if err != nil {
					t.Fatal(err)
				}
				if first { // there is room again
					_, _ = client.Write([]byte("the last"))
				}
				received += n
				ended = string(b.Message(n-1).Data) == "the last"
				if b.Drops() < last {
					t.Errorf("%d dropped after %d", b.Drops(), last)
				}
				last = b.Drops()
			}
			lost += flood + 1 - received
			if lost == 0 || b.Drops() != uint64(lost) {
				t.Errorf("%s, round %d: %d dropped, %d lost", c.listen, round, b.Drops(), lost)
			}
		}
	}
}
