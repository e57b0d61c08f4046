package load

import (
	"math"
	"testing"
)

// twinEntry is a request of the twin.
type twinEntry struct {
	flow           int
	sent           int64
	answered, gone bool
}

// twin is the ledger as one would write it first: it remembers all there ever was.
type twin struct {
	byCookie map[uint64]*twinEntry
	timeout  int64
}

func (w *twin) settle(flow int, cookie uint64, now, age int64) (Verdict, int64) {
	e := w.byCookie[cookie]
	switch {
	case e == nil || e.flow != flow:
		return Foreign, 0
	case e.answered:
		return Duplicate, 0
	}
	e.answered = true
	took := now - e.sent - max(age, 0)
	if took < 0 {
		took = 0
	}
	if took > w.timeout {
		return Late, took
	}
	return Answered, took
}

func (w *twin) outstanding(flow int, now int64) (n int32) {
	for _, e := range w.byCookie {
		e.gone = e.gone || now-e.sent > w.timeout
		if e.flow == flow && !e.answered && !e.gone {
			n++
		}
	}
	return n
}

func TestLedgerEqualsItsTwin(t *testing.T) {
	r := random(t)
	const flows = 3
	for range 40 {
		l := newLedger(newCookies(), flows, 2000, 1000)
		w := twin{byCookie: map[uint64]*twinEntry{}, timeout: 1000}
		var cookies []uint64
		now := int64(0)
		for range 400 {
			now += r.Int64N(100)
			switch r.IntN(3) {
			case 0:
				flow, n, took := r.IntN(flows), r.IntN(5), 0
				for i := range n {
					if r.IntN(4) == 0 {
						break // the kernel took no more
					}
					cookie := l.cookie(flow, i)
					w.byCookie[cookie] = &twinEntry{flow: flow, sent: now}
					cookies = append(cookies, cookie)
					took++
				}
				l.sent(flow, took, now)
			case 1:
				l.expire(now)
				any := false
				for flow := range flows {
					want := w.outstanding(flow, now)
					if l.outstanding[flow] != want {
						t.Fatalf("%d outstanding at %d, want %d", l.outstanding[flow], flow, want)
					}
					any = any || want > 0
				}
				if l.waits() != any {
					t.Fatalf("waits is %v", !any)
				}
			default:
				cookie, flow, age := r.Uint64(), r.IntN(flows), r.Int64N(300)-100
				if len(cookies) > 0 && r.IntN(8) > 0 {
					cookie = cookies[r.IntN(len(cookies))]
					if e := w.byCookie[cookie]; r.IntN(4) > 0 {
						flow = e.flow
					}
				}
				wantVerdict, wantTook := w.settle(flow, cookie, now, age)
				v, sequence, took := l.settle(flow, cookie, now, age)
				if v != wantVerdict || took != wantTook || (sequence == 0) != (v == Foreign) {
					t.Fatalf("%v of request %d after %d, want %v after %d", v, sequence, took, wantVerdict, wantTook)
				}
			}
		}
	}
}

// What does not fit into the ring expires first, and is late from then on.
func TestLedgerForgets(t *testing.T) {
	l := newLedger(newCookies(), 1, 1, math.MaxInt64)
	size := len(l.ring)
	first, second := l.cookie(0, 0), l.cookie(0, 1)
	l.sent(0, size, 0)
	if int(l.outstanding[0]) != size {
		t.Fatalf("%d outstanding", l.outstanding[0])
	}
	l.sent(0, 1, 0)
	if int(l.outstanding[0]) != size || l.next-l.oldest != uint64(size) {
		t.Errorf("%d outstanding, %d remembered", l.outstanding[0], l.next-l.oldest)
	}
	if v, sequence, _ := l.settle(0, first, 1, 0); v != Late || sequence != 1 {
		t.Errorf("what was forgotten is %v, %d", v, sequence)
	}
	if v, _, _ := l.settle(0, second, 1, 0); v != Answered {
		t.Errorf("what is remembered is %v", v)
	}
	if int(l.outstanding[0]) != size-1 {
		t.Errorf("%d outstanding after one answer", l.outstanding[0])
	}
	if next := l.cookie(0, 0); next != l.cookies.seal(l.next<<flowBits) {
		t.Errorf("the next cookie is %x", next)
	}
	if v, _, _ := l.settle(0, l.cookie(0, 0), 1, 0); v != Foreign {
		t.Errorf("what was not sent yet is %v", v)
	}
	if v, _, _ := l.settle(0, l.cookies.seal(0), 1, 0); v != Foreign {
		t.Errorf("request 0 is %v", v)
	}
	if !l.waits() {
		t.Error("nothing waits")
	}
}

func TestLedgerSize(t *testing.T) {
	for requests, want := range map[int]int{0: 1024, 1024: 1024, 1025: 2048, 1 << 40: ringMax} {
		if got := len(newLedger(cookies{}, 1, requests, 1).ring); got != want {
			t.Errorf("%d for %d", got, requests)
		}
	}
}
