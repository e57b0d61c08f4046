package api

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/ntpserver"
)

// TestJSON pins what every call answers with, name by name: scripts around curl and jq
// rely on it. Numbers of 64 bits are strings, so that no reader of JSON rounds them, and
// zero fields are there.
func TestJSON(t *testing.T) {
	node := newFakeNode()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: node})
	client := newClient(t)
	accepted := func(jump time.Duration) (time.Duration, error) { return jump + 1, nil }
	stepped := func(offset time.Duration) (time.Duration, error) { return offset + 1, nil }
	rebased := func(epoch uint64) (Rebased, error) {
		return Rebased{Epoch: epoch + 1, Last: noon + 5, Back: time.Hour}, nil
	}
	for _, c := range []struct {
		name, method, request, want string
		change                      func()
	}{
		{name: "now", method: "ClockService/Now", request: `{}`, want: `{"timestamp":"1795000000000000001","count":"1"}`},
		{name: "now for many", method: "ClockService/Now", request: `{"count":3}`, want: `{"timestamp":"1795000000000000001","count":"3"}`},
		{name: "observe", method: "ClockService/Observe", request: `{"timestamp":"18446744073709551614"}`, want: `{"timestamp":"18446744073709551615"}`},
		{name: "observe nothing", method: "ClockService/Observe", request: `{}`, want: `{"timestamp":"1"}`},
		{name: "interval", method: "ClockService/Interval", request: `{}`, want: `{"earliest":"1794999999999998976","latest":"1795000000000001024","timescale":"UTC"}`},
		{name: "wait", method: "ClockService/Wait", request: `{"timestamp":"1"}`, want: `{"earliest":"2","latest":"3"}`},
		{name: "commit", method: "ClockService/Commit", request: `{}`, want: `{"timestamp":"1795000000000000003"}`},
		{
			name: "accept", method: "NodeService/AcceptClock", request: `{"jumpNs":"-3600000000000"}`, want: `{"jumpNs":"-3599999999999"}`,
			change: func() { node.accept = accepted },
		},
		{
			name: "make step", method: "NodeService/MakeStep", request: `{"offsetNs":"-3600000000000"}`, want: `{"offsetNs":"-3599999999999"}`,
			change: func() { node.step = stepped },
		},
		{
			name: "sources", method: "NodeService/Sources", request: `{}`,
			want: `{
				"sources":[
					{
						"name":"ntp1","address":"192.0.2.1:123","site":"north","status":"selected","reason":"it is followed: the best of those that agree","weight":0.75,
						"reach":255,"pollLog2":6,"heardAgoNs":"2000000000","nextPollNs":"3000000000","interleaved":true,
						"stratum":1,"refid":"GPS","leap":1,"offsetNs":"-5000000","delayNs":"6000000","jitterNs":"7000000","rootDistanceNs":"8000000",
						"frequencyPpm":9.5,"skewPpm":10.5,"samples":4,"providerErrorNs":"11000000",
						"nist":true,"prefer":true,"trust":true,"require":true,"noselect":false,
						"outcomes":{"lost":"13","measured":"12"},"lastFault":"no reply in time"
					},
					{
						"name":"ntp2","address":"","site":"","status":"unreachable","reason":"its name is unknown","weight":0,
						"reach":0,"pollLog2":-2,"nextPollNs":"0","interleaved":false,
						"stratum":0,"refid":"","leap":0,"offsetNs":"0","delayNs":"0","jitterNs":"0","rootDistanceNs":"0",
						"frequencyPpm":0,"skewPpm":0,"samples":0,"providerErrorNs":"0",
						"nist":false,"prefer":false,"trust":false,"require":false,"noselect":true,"outcomes":{},"lastFault":""
					},
					{
						"name":"pool","address":"","site":"","status":"falseticker","reason":"the majority of the sources disagrees with it","weight":0,
						"reach":1,"pollLog2":10,"heardAgoNs":"0","nextPollNs":"0","interleaved":false,
						"stratum":2,"refid":"192.0.2.9","leap":0,"offsetNs":"0","delayNs":"0","jitterNs":"0","rootDistanceNs":"0",
						"frequencyPpm":0,"skewPpm":0,"samples":0,"providerErrorNs":"0",
						"nist":false,"prefer":false,"trust":false,"require":false,"noselect":false,"outcomes":{},"lastFault":""
					},
					{
						"name":"pool","address":"","site":"","status":"outlier","reason":"it agrees, and is farther from the others than they are from each other","weight":0,
						"reach":2,"pollLog2":10,"nextPollNs":"0","interleaved":false,
						"stratum":0,"refid":"","leap":0,"offsetNs":"0","delayNs":"0","jitterNs":"0","rootDistanceNs":"0",
						"frequencyPpm":0,"skewPpm":0,"samples":0,"providerErrorNs":"0",
						"nist":false,"prefer":false,"trust":false,"require":false,"noselect":false,"outcomes":{},"lastFault":""
					}
				],
				"utcUnixNs":"1795000001000000000"
			}`,
		},
		{
			name: "rebase", method: "NodeService/Rebase", request: `{"epoch":8}`, want: `{"epoch":"9","last":"1795000000000000005","backNs":"3600000000000"}`,
			change: func() { node.rebase = rebased },
		},
		{
			name: "clients, and there are none", method: "NodeService/Clients", request: `{}`,
			want: `{"clients":[],"remembered":"0","utcUnixNs":"1795000001000000000"}`,
		},
		{
			name: "clients", method: "NodeService/Clients", request: `{"limit":2,"order":"CLIENTS_ORDER_ADDRESS"}`,
			change: func() {
				node.clients = []ntpserver.Client{
					{Addr: netip.MustParseAddr("2001:db8::2"), Version: 3, Mode: 3, Last: time.Unix(0, noon+4), Requests: 1},
					{Addr: netip.MustParseAddr("2001:db8::1"), Last: time.Unix(0, noon+3)},
					{Addr: netip.MustParseAddr("192.0.2.1"), Version: 4, Mode: 3, Interleaved: true, Last: time.Unix(0, noon+2), Requests: math.MaxUint64, Drops: 5, Interval: time.Minute},
				}
			},
			want: `{
				"clients":[
					{
						"address":"192.0.2.1","version":4,"mode":3,"interleaved":true,"lastUnixNs":"1795000000000000002",
						"requests":"18446744073709551615","drops":"5","intervalNs":"60000000000","pollLog2":6
					},
					{
						"address":"2001:db8::1","version":0,"mode":0,"interleaved":false,"lastUnixNs":"1795000000000000003",
						"requests":"0","drops":"0","intervalNs":"0"
					}
				],
				"remembered":"3","utcUnixNs":"1795000001000000000"
			}`,
		},
		{
			name: "status", method: "NodeService/Status", request: `{}`,
			want: `{
				"node":{"name":"alpha","number":7,"version":"v0.0.1","storeId":"00112233445566778899aabbccddeeff","startedUnixNs":"1794999999999999991"},
				"clock":{
					"state":"CLOCK_STATE_SYNCHRONISED","reason":"chronyd follows 192.0.2.1","mode":"follow","source":"chronyd",
					"leap":1,"stratum":3,"refid":"192.0.2.1","referenceUnixNs":"1794999999999999999",
					"rootDelayNs":"2000000","rootDispersionNs":"3004000","growthPpm":4,"residualOffsetNs":"-5000",
					"errorBoundNs":"4035000","frequencyPpm":-12.5,"precisionLog2":-24,"utcUnixNs":"1795000001000000000",
					"intervals":true,"steps":"6","providerErrorNs":"26000","errorLimitNs":"50000000",
					"holdoverLeftNs":"11491250000000","holdoverSinceUnixNs":"1794999999999999972","skewPpm":0.29,"slewPpm":-30,
					"rival":"its frequency changed, and not by us","driftPpm":31,"driftSkewPpm":32,"driftSavedUnixNs":"1794999999999999967",
					"taiOffset":37,"nextLeapUnixNs":"1795000000000000034","nextLeap":2,"leapExpiresUnixNs":"1795000035000000000",
					"leapOrigin":"/leap-seconds.list","leapWarning":"renew it","timescale":"UTC",
					"systemState":"CLOCK_STATE_HOLDOVER","systemReason":"it is left alone","systemOffsetNs":"27000000","systemErrorBoundNs":"31030000"
				},
				"hlc":{
					"epoch":"8","issuing":true,"last":"1795000000000001024","ceiling":"1795000000001048576","leadNs":"10000000",
					"maxLeadNs":"1000000000","startLeadNs":"11000000","physicalAheadNs":"16","rebases":"12","fenced":"","heldJumpNs":"-22"
				},
				"ntp":{"listen":["127.0.0.1:11123"],"verdicts":{"answered":"17","short":"0"},"kernelDrops":"23"},
				"ready":true,"notReady":[],"alarms":[],
				"sources":{"known":3,"reachable":3,"agree":2,"following":"ntp1","followingAddress":"192.0.2.1:123","followingStratum":1},
				"streams":{
					"closed":"1795000000000000040","streams":"41","watchers":42,"queued":43,"appends":"44","events":"45","bytes":"46","groups":"47",
					"repeated":"48","conflicts":"49","busy":"50","full":"51","delivered":"52","trimmed":"53","stalls":"54",
					"freeBytes":"55","reserveBytes":"56","nearlyFull":true
				}
			}`,
		},
		{
			name: "status of a node in trouble", method: "NodeService/Status", request: `{}`,
			change: func() {
				node.change(func(s *State) {
					*s = State{
						Started: time.Unix(0, 0),
						Clock: &clock.Snapshot{Judgement: clock.Judgement{
							Stratum: clock.StratumUnsynchronised, Leap: clock.LeapUnknown, RefID: clock.RefIDStep(), Reason: "nobody vouches for it", Source: "none",
						}},
						NoClaim:  "nobody vouches for it",
						NotReady: []string{"one", "two"},
						Fenced:   errUnlisted,
						Alarms: []Alarm{
							{Name: "clock_jump", Sentence: "the clock jumped", Since: time.Unix(0, 5)},
							{Name: "breach", Labels: map[string]string{"profile": "finra-50ms", "clock": "system"}, Critical: true, Sentence: "it is 51 ms", Since: time.Unix(0, 6)},
						},
					}
				})
			},
			want: `{
				"node":{"name":"","number":0,"version":"","storeId":"","startedUnixNs":"0"},
				"clock":{
					"state":"CLOCK_STATE_UNSYNCHRONISED","reason":"nobody vouches for it","mode":"follow","source":"none",
					"leap":3,"stratum":16,"refid":"STEP","referenceUnixNs":"0",
					"rootDelayNs":"0","rootDispersionNs":"0","growthPpm":0,"residualOffsetNs":"0",
					"errorBoundNs":"9223372036854775807","frequencyPpm":0,"precisionLog2":0,"utcUnixNs":"0",
					"intervals":false,"steps":"0","providerErrorNs":"0","errorLimitNs":"0",
					"holdoverLeftNs":"0","holdoverSinceUnixNs":"0","skewPpm":0,"slewPpm":0,"rival":"","driftPpm":0,"driftSkewPpm":0,"driftSavedUnixNs":"0",
					"nextLeapUnixNs":"0","nextLeap":0,"leapExpiresUnixNs":"0","leapOrigin":"","leapWarning":"","timescale":"UTC",
					"systemState":"CLOCK_STATE_UNSYNCHRONISED","systemReason":"","systemOffsetNs":"0","systemErrorBoundNs":"9223372036854775807"
				},
				"hlc":{
					"epoch":"0","issuing":false,"last":"0","ceiling":"0","leadNs":"0",
					"maxLeadNs":"0","startLeadNs":"0","physicalAheadNs":"0","rebases":"0","fenced":"an error that nobody thought of","heldJumpNs":"0"
				},
				"ntp":{"listen":[],"verdicts":{},"kernelDrops":"0"},
				"ready":false,"notReady":["one","two"],
				"alarms":[
					{"name":"clock_jump","sentence":"the clock jumped","sinceUnixNs":"5","labels":{},"critical":false},
					{"name":"breach","sentence":"it is 51 ms","sinceUnixNs":"6","labels":{"clock":"system","profile":"finra-50ms"},"critical":true}
				],
				"sources":{"known":0,"reachable":0,"agree":0,"following":"","followingAddress":"","followingStratum":0},
				"streams":{
					"closed":"0","streams":"0","watchers":0,"queued":0,"appends":"0","events":"0","bytes":"0","groups":"0",
					"repeated":"0","conflicts":"0","busy":"0","full":"0","delivered":"0","trimmed":"0","stalls":"0",
					"freeBytes":"0","reserveBytes":"0","nearlyFull":false
				}
			}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change()
			}
			a := call(t, client, base, c.method, c.request)
			if got := a.header.Get("Content-Type"); a.status != http.StatusOK || got != "application/json" {
				t.Errorf("status %d, type %q", a.status, got)
			}
			// The encoder strews blanks, so that nobody compares bytes.
			if got, want := compact(t, a.body), compact(t, c.want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return b.String()
}
