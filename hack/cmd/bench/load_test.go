package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/config"
)

// openBurst is what ntpload prints with --json --rate.
const openBurst = `{"label":"","mode":"open","server":"127.0.0.1:24511","sockets":16,"window":1,"batch":32,"gso":false,` +
	`"wanted_rate":20000,"sent_rate":19990.5,"rps":19980.5,"loss_pct":0.0500,"seconds":0.800,"sent":15992,"responses":15984,` +
	`"bad":1,"late":2,"kod":3,"unsync":4,"send_errors":5,` +
	`"rtt_us":{"min":7.57,"p1":10.69,"p50":22.14,"p99":33.54,"p999":64.26,"max":2070.84,"mean":22.334},` +
	`"offset_us":{"min":-77.29,"p1":-26.75,"p50":-13.89,"p99":-1.58,"p999":-1.14,"max":12.97,"mean":-12.558},` +
	`"request_delay_us":{"min":1.21,"p1":1.26,"p50":1.43,"p99":1.64,"p999":4.90,"max":62.35,"mean":1.430},` +
	`"server_t3_t2_us":{"min":3.99,"p1":15.30,"p50":35.58,"p99":67.07,"p999":96.77,"max":3265.07,"mean":39.250},` +
	`"generator_lag_us":{"min":0.01,"p1":0.02,"p50":0.50,"p99":1.00,"p999":2.00,"max":3.00,"mean":0.600},` +
	`"server_cpu_us_per_response":4.1581,"server_cpu_s":0.5934,"server_cpu_share":0.9889,"server_user_s":0.07,"server_sys_s":0.53,` +
	`"generator_cpu_s":0.600,"generator_wait_s":0.0010,"server_wait_s":0.0046}` + "\n"

func TestParseBurst(t *testing.T) {
	b, err := parseBurst([]byte(openBurst))
	if err != nil {
		t.Fatal(err)
	}
	got := []float64{
		b.WantedRate, b.SentRate, b.Rate, b.LossPct, b.Seconds, float64(b.Sent), float64(b.Responses), float64(b.Bad), float64(b.Late),
		float64(b.Kissed), float64(b.Unsync), float64(b.SendErrors), b.RTT.P50, b.Offset.P50, b.Offset.Max, b.RequestDelay.P50,
		b.Turnaround.P50, b.Lag.P50, b.CPUPerAnswer, b.CPUShare, b.ServerUser, b.ServerSystem, b.GeneratorTime, b.LoadWait, b.ServerWait,
	}
	want := []float64{20000, 19990.5, 19980.5, 0.05, 0.8, 15992, 15984, 1, 2, 3, 4, 5, 22.14, -13.89, 12.97, 1.43, 35.58, 0.5, 4.1581, 0.9889,
		0.07, 0.53, 0.6, 0.001, 0.0046}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestParseBurstRefuses(t *testing.T) {
	if _, err := parseBurst([]byte("\n")); err == nil {
		t.Error("took nothing for a burst")
	}
	if _, err := parseBurst([]byte("usage: ntpload")); err == nil {
		t.Error("took a message for a burst")
	}
	b, err := parseBurst([]byte(`{"sent":7,"responses":0}`))
	if !errors.Is(err, errSilence) || b == nil || b.Sent != 7 {
		t.Errorf("silence: %v, %+v", err, b)
	}
}

func TestFault(t *testing.T) {
	for want, b := range map[string]burst{
		"":                               {Responses: 9, Late: 3, LossPct: 20},
		"2 answers were wrong":           {Bad: 2, Kissed: 1},
		"1 answers were kisses of death": {Kissed: 1},
		"4 answers were unsynchronised":  {Unsync: 4},
	} {
		if got := b.fault(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHeld(t *testing.T) {
	for name, c := range map[string]struct {
		b                 burst
		server, generator bool
	}{
		"kept up":      {burst{WantedRate: 1000, SentRate: 990, LossPct: 0.99}, true, true},
		"lost":         {burst{WantedRate: 1000, SentRate: 1000, LossPct: 1}, false, true},
		"was not sent": {burst{WantedRate: 1000, SentRate: 960}, false, false},
		"neither":      {burst{WantedRate: 1000, SentRate: 900, LossPct: 50}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if server, generator := c.b.held(); server != c.server || generator != c.generator {
				t.Errorf("server %t, generator %t", server, generator)
			}
		})
	}
}

// No two bursts come from one address: the limiter would see one client.
func TestBind(t *testing.T) {
	g, seen := &generator{}, map[string]bool{}
	for range 200_000 {
		a := g.bind()
		if seen[a] || !strings.HasPrefix(a, "127.") || a == "127.0.0.1" {
			t.Fatalf("%s, seen before: %t", a, seen[a])
		}
		seen[a] = true
	}
}

func TestInTurn(t *testing.T) {
	all := []*contender{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	for round, want := range []string{"abc", "bca", "cab", "abc"} {
		got := ""
		for _, c := range inTurn(all, round) {
			got += c.Name
		}
		if got != want {
			t.Errorf("round %d: %s, want %s", round, got, want)
		}
	}
}

// The configuration of ours is one that ours accepts.
func TestOurConfig(t *testing.T) {
	for _, plain := range []bool{false, true} {
		text := ourConfig(address{port: 11123, api: 8123, dir: "/nowhere"}, plain)
		c, err := config.Parse("bench.toml", []byte(text))
		if err != nil {
			t.Errorf("plain %t: %v\n%s", plain, err, text)
		}
		if c.NTP.Workers != 1 || c.Clock.LocalStratum != 1 {
			t.Errorf("plain %t: %+v", plain, c)
		}
	}
}

func TestParseFlags(t *testing.T) {
	o, err := parse([]string{"--rounds", "3", "--burst", "0.5s", "--plain", "--json", "-"})
	if err != nil || o.Rounds != 3 || o.Burst != 500*time.Millisecond || !o.Plain || o.JSON != "-" || o.Nice != -20 || o.LoadFIFO != 50 {
		t.Errorf("%v: %+v", err, o)
	}
	for _, args := range [][]string{{"HEAD"}, {"--rounds", "0"}, {"--server-cpu", "1"}, {"--sources", "99999999"}, {"--requests", "3"}, {"--burst", "1s"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("took %q", args)
		}
	}
}
