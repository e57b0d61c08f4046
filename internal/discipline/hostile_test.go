package discipline

import (
	"math"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// TestRestartSettles: after the machine slept the clock may be stepped as after a start, so
// that the first estimate waits for all that answer, too, and not for the quickest alone.
func TestRestartSettles(t *testing.T) {
	d, ids, now := hear(Options{}, named("a"), named("b"), named("c"))
	if !d.Select(now).Valid {
		t.Fatal("three sources that agree are not followed")
	}
	d.Restart()
	now += time.Hour
	hearAgain(d, ids[2], says{offset: time.Hour, samples: 4}, now)
	for _, id := range ids[:2] {
		hearAgain(d, id, says{samples: 3}, now)
	}
	if s := d.Select(now); s.Valid {
		t.Errorf("follows %v, which was heard first, to %v", s.Reason, s.Estimate.Remote-era-int64(now))
	}
	now += testPoll
	for _, id := range ids[:2] {
		hearAgain(d, id, says{samples: 1}, now)
	}
	if s := d.Select(now); !s.Valid || s.Verdicts[2].Status != Falseticker || math.Abs(float64(s.Estimate.Remote-era-int64(now))) > 1e6 {
		t.Errorf("then %v: %s", s.Valid, s.Reason)
	}
	d.Restart()
	now += time.Hour
	hearAgain(d, ids[0], says{samples: 4}, now)
	d.Select(now)
	if s := d.Select(now + settleTime); !s.Valid {
		t.Errorf("those that are not heard are waited for too long: %s", s.Reason)
	}
}

// TestReplacedSettle: where all sources are replaced, the first that is heard is not followed
// alone.
func TestReplacedSettle(t *testing.T) {
	d, ids, now := hear(Options{}, named("a"))
	if !d.Select(now).Valid {
		t.Fatal("the only source is not followed")
	}
	d.Close(ids[0])
	b, c := d.Open(SourceOptions{Name: "b"}), d.Open(SourceOptions{Name: "c"})
	now += time.Minute
	d.Select(now)
	hearAgain(d, b, says{offset: time.Hour, samples: 4}, now)
	hearAgain(d, c, says{samples: 3}, now)
	if s := d.Select(now); s.Valid {
		t.Errorf("follows the first that was heard: %s", s.Reason)
	}
}

// TestStratumOfPeer: a source that nobody could follow through us is right all the same, but
// gives its name to the estimate only where there is no other.
func TestStratumOfPeer(t *testing.T) {
	far := says{delay: ms, sample: Sample{Stratum: clock.StratumUnsynchronised - 1}}
	d, _, now := hear(Options{}, named("a"), named("b"), far)
	if s := d.Select(now); !s.Valid || s.Estimate.Stratum != 2 || s.Verdicts[2].Status != Combined {
		t.Errorf("stratum %d, verdicts %v", s.Estimate.Stratum, s.Verdicts)
	}
	d, ids, now := hear(Options{}, far)
	if s := d.Select(now); s.Peer != ids[0] {
		t.Error("the only source is not followed")
	}
	// It was the peer when it was alone, and does not stay it.
	other := d.Open(SourceOptions{Name: "b"})
	hearAgain(d, other, says{}, now)
	if s := d.Select(now); s.Peer != other || s.Estimate.Stratum != 2 {
		t.Errorf("peer %d, stratum %d", s.Peer, s.Estimate.Stratum)
	}
}

// TestQuietLiar: one of three is much closer than the others, and its clock runs wrong by
// some millionths within what their distances allow. What is left when all of them fall silent
// is the rate that it has taught: the bound has to reckon with it.
func TestQuietLiar(t *testing.T) {
	const wrong = 10e-6
	d := New(Options{DistanceMax: time.Second})
	ids := make([]SourceID, 3)
	for i := range ids {
		ids[i] = d.Open(SourceOptions{Name: string(rune('a' + i))})
	}
	var now time.Duration
	for k := range 110 {
		now = time.Duration(k) * testPoll
		for i, id := range ids {
			delay, off := 40*ms+time.Duration((k*7+i*3)%11)*20*time.Microsecond, time.Duration((k*5+i*2)%11-5)*10*time.Microsecond
			if i == 2 {
				delay, off = ms, time.Duration(wrong*float64(now))
			}
			d.Add(id, Sample{Local: now, Remote: era + int64(now) + int64(off), Delay: delay, Dispersion: time.Microsecond, Stratum: 1})
			d.Reach(id, 0xff)
		}
	}
	s := d.Select(now)
	if !s.Valid || s.Verdicts[2].Weight == 0 {
		t.Fatalf("the liar is found out, which this test is not about: %s, %+v", s.Reason, s.Verdicts[2])
	}
	if math.Abs(s.Estimate.Frequency) < wrong/2 {
		t.Fatalf("the liar has taught a rate of %v only", s.Estimate.Frequency)
	}
	for _, age := range []time.Duration{0, time.Second, time.Minute, time.Hour, 6 * time.Hour} {
		e := s.Estimate.At(now + age)
		off := time.Duration(e.Remote - era - int64(now+age))
		if bound := half(e.RootDelay) + e.RootDispersion; off.Abs() > bound {
			t.Errorf("after %v it is off by %v and claims %v", age, off, bound)
		}
	}
}
