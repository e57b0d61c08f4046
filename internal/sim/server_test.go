package sim

import (
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/ntp"
)

// exchange sends a request to a server now and returns the reply, and when it left.
func exchange(t *testing.T, s *server, request ntp.Header) (reply ntp.Header, left int64) {
	t.Helper()
	var b [ntp.HeaderLen]byte
	request.Version, request.Mode = ntp.VersionMax, ntp.ModeClient
	request.Encode(&b)
	took, err := s.answer(&b)
	if err != nil {
		t.Fatal(err)
	}
	reply, err = ntp.Decode(b[:])
	if err != nil {
		t.Fatal(err)
	}
	return reply, s.run.now + int64(took)
}

func testServer(options Server, leap *LeapSecond) *server {
	r, _ := testMachine(Oscillator{})
	r.truth = newTruth(&Site{Leap: leap})
	return &server{Server: &options, run: r, random: testRandom(1)}
}

func TestServerAnswers(t *testing.T) {
	s := testServer(Server{Error: stepping(time.Hour, -10*ms), RootDelay: 3 * ms, RootDispersion: ms, Stratum: 2}, nil)
	for _, since := range []time.Duration{0, time.Hour - ms, time.Hour, 2 * time.Hour} {
		s.run.now = s.run.start + int64(since)
		request := ntp.Header{Version: ntp.VersionMax, Transmit: 12345}
		reply, left := exchange(t, s, request)
		if err := ntp.CheckReply(request, reply); err != nil {
			t.Errorf("%v: %v", since, err)
		}
		if reply.RootDelay.Duration() < 3*ms || reply.RootDispersion.Duration() < ms || reply.Stratum != 2 || reply.Leap != ntp.LeapNone {
			t.Errorf("%v: it claims %+v", since, reply)
		}
		wrong := int64(0)
		if since >= time.Hour {
			wrong = int64(-10 * ms)
		}
		pivot := s.run.now
		if got := reply.Receive.Unix(pivot) - s.run.truth.utc(s.run.now); got != wrong {
			t.Errorf("%v: its clock is off by %v", since, time.Duration(got))
		}
		if at := reply.Transmit.Unix(pivot) - wrong; at <= s.run.truth.utc(s.run.now) || at >= s.run.truth.utc(left) {
			t.Errorf("%v: the transmit timestamp is not between receipt and departure", since)
		}
	}
}

// TestServerInterleaves asks twice: the second reply tells when the first one left.
func TestServerInterleaves(t *testing.T) {
	for _, basic := range []bool{false, true} {
		s := testServer(Server{Basic: basic}, nil)
		first, left := exchange(t, s, ntp.Header{Transmit: 1})
		s.run.now += 16 * sec
		second, _ := exchange(t, s, ntp.Header{Origin: first.Receive, Receive: 2, Transmit: 3})
		departed := ntp.FromUnix(s.run.truth.utc(left))
		if told := second.Origin == 2 && second.Transmit == departed; told == basic {
			t.Errorf("basic %v: second reply %+v to first %+v, which left at %v", basic, second, first, departed)
		}
		if basic && second.Origin != 3 {
			t.Error("the basic reply does not carry the request's transmit timestamp")
		}
		s.run.now += 16 * sec
		if third, _ := exchange(t, s, ntp.Header{Origin: first.Receive, Receive: 4, Transmit: 5}); third.Origin != 5 {
			t.Error("an exchange long past is continued")
		}
	}
}

func TestServerRefuses(t *testing.T) {
	s := testServer(Server{Kiss: kissing(time.Minute, time.Hour, ntp.KissRATE)}, nil)
	for since, want := range map[time.Duration]ntp.RefID{0: 0, time.Minute: ntp.KissRATE, time.Hour: 0} {
		s.run.now = s.run.start + int64(since)
		reply, _ := exchange(t, s, ntp.Header{Transmit: 1})
		if want == 0 && reply.Stratum != 1 || want != 0 && (reply.Stratum != 0 || reply.RefID != want || reply.Leap != ntp.LeapUnsynchronised) {
			t.Errorf("%v: %+v", since, reply)
		}
	}
}

func TestServerNoise(t *testing.T) {
	s := testServer(Server{Noise: 100 * us}, nil)
	var sum float64
	const count = 2000
	for range count {
		s.run.now += 1000
		x := float64(s.clockAt(s.run.now) - s.run.truth.utc(s.run.now))
		sum += x * x / count
		reply, _ := exchange(t, s, ntp.Header{Transmit: 1})
		if reply.Transmit.Before(reply.Receive) || s.departed.Before(s.received) {
			t.Fatal("it left before it came")
		}
	}
	if sum < 9e9 || sum > 11e9 {
		t.Errorf("variance %v ns²", sum)
	}
}

// TestServerLeaps asks what a server announces, and what its clock shows, around a leap
// second.
func TestServerLeaps(t *testing.T) {
	midnight := time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		server                Server
		by                    int
		early, before, beyond clock.Leap // two days before, an hour before and after
		off                   time.Duration
	}{
		"inserted": {Server{}, 1, 0, clock.LeapInsert, 0, 0},
		"deleted":  {Server{}, -1, 0, clock.LeapDelete, 0, 0},
		"silent":   {Server{Leaps: LeapSilent}, 1, 0, 0, 0, 0},
		"false":    {Server{Leaps: LeapFalse}, -1, clock.LeapInsert, clock.LeapInsert, clock.LeapInsert, 0},
		"smeared":  {Server{Smears: true}, 1, 0, 0, 0, time.Second / 2 * 11 / 12},
	} {
		s := testServer(test.server, &LeapSecond{At: midnight, By: test.by})
		for after, want := range map[time.Duration]clock.Leap{-48 * time.Hour: test.early, -time.Hour: test.before, time.Hour: test.beyond} {
			tai := s.run.truth.tai(midnight.Add(after).UnixNano())
			if got := s.leap(tai); got != want {
				t.Errorf("%s: %v from midnight it announces %d, want %d", name, after, got, want)
			}
			if got := time.Duration(s.clockAt(tai) - s.run.truth.utc(tai)); after == time.Hour && (got-test.off).Abs() > time.Millisecond {
				t.Errorf("%s: an hour after it is off by %v, want %v", name, got, test.off)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	drift := drifting(time.Hour, 10*ppm)
	for at, want := range map[time.Duration]time.Duration{0: 0, time.Hour: 0, 2 * time.Hour: 36 * ms} {
		if got := drift(at); (got - want).Abs() > time.Nanosecond {
			t.Errorf("%v: drifted by %v, want %v", at, got, want)
		}
	}
	if constant(5)(99) != 5 {
		t.Error("what is constant changes")
	}
}
