package load

import (
	"encoding/binary"
	"testing"

	"github.com/truechimer/truechimer/internal/ntp"
)

// reply is an answer that counts, to the request with that cookie.
func reply(cookie uint64) ntp.Header {
	return ntp.Header{Version: 4, Mode: ntp.ModeServer, Stratum: 2, Origin: ntp.Timestamp(cookie), Receive: 7 << 32, Transmit: 7<<32 + 1}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(h *ntp.Header)
		cut     int // bytes less; negative: more
		want    Verdict
		unsync  bool
		used    bool // the request is used up
		another bool // at another socket
	}{
		"right":               {want: Answered, used: true},
		"stratum 1":           {change: func(h *ntp.Header) { h.Stratum = 1 }, want: Answered, used: true},
		"same instant":        {change: func(h *ntp.Header) { h.Transmit = h.Receive }, want: Answered, used: true},
		"era change":          {change: func(h *ntp.Header) { h.Receive, h.Transmit = 1<<64-1, 1 }, want: Answered, used: true},
		"leap 3":              {change: func(h *ntp.Header) { h.Leap = 3 }, want: Answered, unsync: true, used: true},
		"stratum 16":          {change: func(h *ntp.Header) { h.Stratum = 16 }, want: Answered, unsync: true, used: true},
		"INIT":                {change: func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissINIT }, want: Answered, unsync: true, used: true},
		"STEP":                {change: func(h *ntp.Header) { h.Stratum, h.RefID, h.Leap = 0, ntp.KissSTEP, 3 }, want: Answered, unsync: true, used: true},
		"RATE":                {change: func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE }, want: Kiss, used: true},
		"RATE, leap 3":        {change: func(h *ntp.Header) { h.Stratum, h.RefID, h.Leap = 0, ntp.KissRATE, 3 }, want: Kiss, unsync: true, used: true},
		"kiss without times":  {change: func(h *ntp.Header) { h.Stratum, h.Receive, h.Transmit = 0, 0, 0 }, want: Kiss, used: true},
		"one byte short":      {cut: 1, want: Short},
		"empty":               {cut: 48, want: Short},
		"one byte long":       {cut: -1, want: Long},
		"with a MAC":          {cut: -20, want: Long},
		"mode 3":              {change: func(h *ntp.Header) { h.Mode = 3 }, want: Mode},
		"mode 5":              {change: func(h *ntp.Header) { h.Mode = 5 }, want: Mode},
		"version 3":           {change: func(h *ntp.Header) { h.Version = 3 }, want: Version},
		"another origin":      {change: func(h *ntp.Header) { h.Origin++ }, want: Foreign},
		"no origin":           {change: func(h *ntp.Header) { h.Origin = 0 }, want: Foreign},
		"kiss, forged":        {change: func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE; h.Origin++ }, want: Foreign},
		"another socket":      {another: true, want: Foreign},
		"receive zero":        {change: func(h *ntp.Header) { h.Receive = 0 }, want: ZeroTime, used: true},
		"transmit zero":       {change: func(h *ntp.Header) { h.Transmit = 0 }, want: ZeroTime, used: true},
		"transmit too early":  {change: func(h *ntp.Header) { h.Transmit = h.Receive - 1 }, want: Backwards, used: true},
		"mode before version": {change: func(h *ntp.Header) { h.Mode, h.Version = 3, 3 }, want: Mode},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(newCookies(), 2, 10, 1000)
			h := reply(l.cookie(1, 0))
			l.sent(1, 1, 100)
			if c.change != nil {
				c.change(&h)
			}
			wire := append(h.Append(nil), make([]byte, 64)...)[:ntp.HeaderLen-c.cut]
			flow := 1
			if c.another {
				flow = 0
			}
			a := judge(l, 4, flow, wire, 600, 100)
			if a.verdict != c.want || c.want == Answered && (a.took != 400 || a.unsynchronised != c.unsync) {
				t.Errorf("%v after %d, unsynchronised %v; want %v after 400, %v", a.verdict, a.took, a.unsynchronised, c.want, c.unsync)
			}
			if used := l.outstanding[1] == 0; used != c.used || (a.sequence == 1) != c.used {
				t.Errorf("the request is used up: %v, sequence %d", used, a.sequence)
			}
			if again := judge(l, 4, flow, wire, 700, 0); c.used && again.verdict != Duplicate || !c.used && again.verdict != c.want {
				t.Errorf("again: %v", again.verdict)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Verdicts() {
		if v.String() == "" || seen[v.String()] {
			t.Errorf("verdict %d is %q", v, v)
		}
		seen[v.String()] = true
	}
	if Verdict(200).String() != "unknown" || Verdict(200).Bad() || Duplicate.Bad() || !Short.Bad() || !Backwards.Bad() {
		t.Error("the bad ones are not those from Short on")
	}
}

// FuzzJudge gives the judge whatever bytes there are: it never panics, and nothing is an answer
// but what carries the cookie of a request that waits on that socket, once.
func FuzzJudge(f *testing.F) {
	h := reply(0)
	f.Add(h.Append(nil), uint8(4), uint8(0), int64(0))
	f.Add(h.Append(nil), uint8(4), uint8(1), int64(-5))
	h.Stratum, h.RefID = 0, ntp.KissRATE
	f.Add(h.Append(nil), uint8(3), uint8(130), int64(1))
	f.Add(append(h.Append(nil), 0), uint8(4), uint8(2), int64(5000))
	f.Add([]byte{0x24}, uint8(4), uint8(3), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, version, which uint8, age int64) {
		l := newLedger(newCookies(), 2, 10, 1000)
		waiting := map[uint64]int{}
		for i := range 4 {
			waiting[l.cookie(i%2, 0)] = i % 2
			l.sent(i%2, 1, int64(i))
		}
		judge(l, version, 0, b, 500, age) // as it is: forged
		if which&128 != 0 && len(b) >= ntp.HeaderLen {
			for cookie := range waiting { // as if somebody had seen a request
				binary.BigEndian.PutUint64(b[24:], cookie)
				break
			}
		}
		var settled int32
		for range 2 {
			for flow := range 2 {
				a := judge(l, version, flow, b, 600, age)
				if a.verdict != Answered {
					continue
				}
				settled++
				cookie := binary.BigEndian.Uint64(b[24:])
				from, ok := waiting[cookie]
				if !ok || from != flow || len(b) != ntp.HeaderLen || b[0]&7 != 4 || b[0]>>3&7 != version || a.took < 0 || a.took > 600 {
					t.Fatalf("an answer: %x at %d", b, flow)
				}
			}
		}
		if settled > 1 || l.outstanding[0]+l.outstanding[1]+settled > 4 {
			t.Fatalf("%d answers to one request, %v outstanding", settled, l.outstanding)
		}
	})
}
