package api

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"connectrpc.com/connect"
)

const (
	// callLenFree is what one call may hold of a memory without being counted: the number of
	// calls bounds it.
	callLenFree = requestLenMax
	// requestsLenMax and answersLenMax bound, in bytes, what the large requests and the large
	// answers in progress hold together. A message is in memory up to three times for a
	// moment: as it came or goes, encoded, and as what it says.
	requestsLenMax = 64 << 20
	answersLenMax  = 128 << 20
	// inflationMax is how many bytes of a message one compressed byte can stand for: deflate
	// codes 258 bytes in two bits at the best.
	inflationMax = 258 * 8 / 2
)

var (
	errRequests = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("large requests in progress hold %d MiB already, and no more is taken; ask again in a moment, with less at a time", requestsLenMax>>20))
	errAnswers  = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("large answers in progress hold %d MiB already: somebody reads them slowly; go on from the last cursor in a moment, with less at a time", answersLenMax>>20))
)

// memory is what all calls may hold together, in bytes.
type memory struct{ left atomic.Int64 }

func newMemory(size int64) *memory {
	m := new(memory)
	m.left.Store(size)
	return m
}

// share is what one call holds of a memory. It is for one goroutine.
type share struct {
	of   *memory
	size int64 // of what the call has in memory
	held int64 // what is counted of it
}

// grow adds n bytes to what the call has in memory. It returns false, and adds nothing,
// where that is more than there is room for.
func (s *share) grow(n int64) bool {
	more := max(0, s.size+n-callLenFree) - s.held
	if more > 0 && s.of.left.Add(-more) < 0 {
		s.of.left.Add(more)
		return false
	}
	s.size += n
	s.held += max(0, more)
	return true
}

// release gives back what the call holds.
func (s *share) release() {
	s.of.left.Add(s.held)
	s.size, s.held = 0, 0
}

// weighRequests has the bodies of requests counted while their calls last.
func weighRequests(next http.Handler, m *memory) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := &weighedBody{ReadCloser: r.Body, share: share{of: m}, factor: 1}
		for _, header := range []string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"} {
			if e := r.Header.Get(header); e != "" && e != "identity" {
				body.factor = inflationMax
			}
		}
		defer body.share.release()
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// weighedBody is the body of a request. Where there is no room for more of it, reading ends
// with errRequests.
type weighedBody struct {
	io.ReadCloser
	share  share
	factor int64 // bytes of the message that a byte of the body can stand for
}

func (b *weighedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	// However well it is compressed, a message cannot be larger than the largest.
	grown := min(int64(n)*b.factor, max(int64(n), int64(appendLenMax)-b.share.size))
	if !b.share.grow(grown) {
		return 0, errRequests
	}
	return n, err
}
