package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

// TestReadHeads: of many heads the first and the last are among those that are taken, and the
// others are spread evenly.
func TestReadHeads(t *testing.T) {
	name := filepath.Join(t.TempDir(), "heads")
	write := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint("head", i))
		}
		if err := os.WriteFile(name, []byte("\n  "+strings.Join(all, "\r\n\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return all
	}
	for _, n := range []int{1, 2, 99, 100} {
		all := write(n)
		if got, err := readHeads(name, headsMax); err != nil || !slices.Equal(got, all) {
			t.Errorf("%d: %v, %v", n, got, err)
		}
	}
	for _, n := range []int{101, 102, 199, 1000, 525_600} {
		all := write(n)
		got, err := readHeads(name, headsMax)
		if err != nil || len(got) != headsMax || got[0] != all[0] || got[headsMax-1] != all[n-1] {
			t.Errorf("%d: %d heads, %v", n, len(got), err)
			continue
		}
		last := -1
		for _, head := range got {
			i := slices.Index(all, head)
			if gap := i - last; gap < 1 || gap > n/(headsMax-1)+1 {
				t.Errorf("%d: after head %d comes %d", n, last, i)
			}
			last = i
		}
	}
	all := write(150)
	for most, want := range map[int][]string{1: {all[149]}, 2: {all[0], all[149]}, 3: {all[0], all[75], all[149]}} {
		if got, err := readHeads(name, most); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d at the most: %v, %v", most, got, err)
		}
	}
	if _, err := readHeads(name, 0); err == nil || !strings.Contains(err.Error(), "100 heads can be compared at a time") {
		t.Error(err)
	}
	write(0)
	if _, err := readHeads(name, headsMax); err == nil || !strings.Contains(err.Error(), "holds no head") {
		t.Error(err)
	}
	if _, err := readHeads(name+"x", headsMax); err == nil || !strings.HasPrefix(err.Error(), "read the heads: open ") {
		t.Error(err)
	}
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readHeads(name, headsMax); err == nil || !strings.HasPrefix(err.Error(), "read the heads: ") {
		t.Errorf("a line that never ends: %v", err)
	}
}

// TestJournalVerify: what came of it, and the exit code.
func TestJournalVerify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "heads")
	if err := os.WriteFile(name, []byte(strings.Repeat("filed\n", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		last     *rpc.VerifyJournalResponse
		code     int
		out, log string
	}{
		{
			&rpc.VerifyJournalResponse{Done: true, Checked: 9, Total: 9, Signatures: 1, Notes: []string{"a note"}}, 0,
			"checked  9 records, 1 signature\nnote     a note\nwhole    every record is as it was written, and none is missing\n", "",
		},
		{
			&rpc.VerifyJournalResponse{Done: true, Checked: 1, Signatures: 2, Problems: []string{"one", "two"}}, 1,
			"checked  1 record, 2 signatures\nproblem  one\nproblem  two\n",
			"truechimer: 2 problems were found in the journal: keep this data directory as it is, and find out what happened\n",
		},
		{
			&rpc.VerifyJournalResponse{Done: true, Problems: []string{"one"}}, 1,
			"checked  0 records, 0 signatures\nproblem  one\n",
			"truechimer: 1 problem was found in the journal: keep this data directory as it is, and find out what happened\n",
		},
		{nil, 1, "", "truechimer: the server ended before it was done; look at its log\n"},
	} {
		f := &fakeEvidence{verify: []*rpc.VerifyJournalResponse{{Total: 9}, {Checked: 5, Total: 9}}}
		if c.last != nil {
			f.verify = append(f.verify, c.last)
		}
		if code, out, log := f.asks(t, "journal", "verify", "--head", "a", "--head", "b", "--head-file", name); code != c.code || out != c.out || log != c.log {
			t.Errorf("%v: exit code %d\n%s%s", c.last, code, out, log)
		}
		if len(f.heads) != 100 || f.heads[0] != "a" || f.heads[1] != "b" || f.heads[2] != "filed" {
			t.Errorf("%d heads", len(f.heads))
		}
		if code, out, log := f.asks(t, "journal", "verify", "--json"); code != c.code || log != c.log || c.last != nil && !strings.HasPrefix(out, `{"checked":`) {
			t.Errorf("%v in JSON: exit code %d\n%s%s", c.last, code, out, log)
		}
	}
}

// TestJournalShow: pages are put together until there are as many as are wanted, or all.
func TestJournalShow(t *testing.T) {
	record := func(sequence uint64) *rpc.JournalRecord {
		return &rpc.JournalRecord{
			Sequence: sequence, UnixNs: night, Kind: "stopped", Entry: &rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{Cause: "a b"}}},
		}
	}
	const line = `  2026-11-18T11:06:40Z  stopped  {"stopped":{"cause":"a b"}}` + "\n"
	// Nine records. A page looks at three, and has those of them with an even number.
	for _, c := range []struct {
		args  string
		out   string
		asked []*rpc.JournalRequest
	}{
		{"--sequence 1 --limit 2", "2" + line + "4" + line, []*rpc.JournalRequest{{FromSequence: 1, Limit: 2}, {FromSequence: 4, Limit: 1}}},
		{"--sequence 1 --limit 1", "2" + line, []*rpc.JournalRequest{{FromSequence: 1, Limit: 1}}},
		{"--sequence 1 --limit 20", "2" + line + "4" + line + "6" + line + "8" + line, []*rpc.JournalRequest{{FromSequence: 1, Limit: 20}, {FromSequence: 4, Limit: 19}, {FromSequence: 7, Limit: 17}}},
		{"--all", "2" + line + "4" + line + "6" + line + "8" + line, []*rpc.JournalRequest{{FromSequence: 1, Limit: 1000}, {FromSequence: 4, Limit: 1000}, {FromSequence: 7, Limit: 1000}}},
		{
			"--all --from 2026-11-18T11:06:40.000000001Z --to 2026-11-18T11:06:41Z --kind stopped --kind started --raw", "2" + line + "4" + line + "6" + line + "8" + line,
			[]*rpc.JournalRequest{
				{FromUnixNs: night + 1, ToUnixNs: night + second, Limit: 1000, Kinds: []string{"stopped", "started"}, Track: 2},
				{FromSequence: 4, ToUnixNs: night + second, Limit: 1000, Kinds: []string{"stopped", "started"}, Track: 2},
				{FromSequence: 7, ToUnixNs: night + second, Limit: 1000, Kinds: []string{"stopped", "started"}, Track: 2},
			},
		},
	} {
		var asked []*rpc.JournalRequest
		f := &fakeEvidence{journal: func(r *rpc.JournalRequest) *rpc.JournalResponse {
			asked = append(asked, proto.CloneOf(r))
			m, from := new(rpc.JournalResponse), max(r.FromSequence, 1)
			for n := from; n < from+3; n++ {
				if n%2 == 0 && len(m.Records) < int(r.Limit) {
					m.Records = append(m.Records, record(n))
				}
			}
			if from+3 <= 9 {
				m.NextSequence = from + 3
			}
			return m
		}}
		code, out, log := f.asks(t, append([]string{"journal", "show"}, strings.Fields(c.args)...)...)
		if code != 0 || out != c.out || log != "" {
			t.Errorf("%s: exit code %d, %s\n%swant\n%s", c.args, code, log, out, c.out)
		}
		if !slices.EqualFunc(asked, c.asked, func(a, b *rpc.JournalRequest) bool { return proto.Equal(a, b) }) {
			t.Errorf("%s: asked %v, want %v", c.args, asked, c.asked)
		}
		if code, out, _ := f.asks(t, append([]string{"journal", "show", "--json"}, strings.Fields(c.args)...)...); code != 0 || strings.Count(out, "\n") != strings.Count(c.out, "\n") || !strings.HasPrefix(out, `{"sequence":`) {
			t.Errorf("%s in JSON: exit code %d\n%s", c.args, code, out)
		}
	}
}

// TestJournalHeadCommand pins what is told of a journal.
func TestJournalHeadCommand(t *testing.T) {
	for _, c := range []struct {
		head *rpc.JournalHeadResponse
		want string
	}{
		{
			&rpc.JournalHeadResponse{PublicKey: "00ff"},
			"head      none yet; one is signed each minute\nkey       00ff\nevidence  0 records, none yet; kept for 0 days\nraw       0 records, none yet; kept for 0 days\ndisk      0B of 0B planned\n",
		},
		{
			&rpc.JournalHeadResponse{
				Head: "tcj1.x", PublicKey: "00ff", EvidenceRecords: 1, RawRecords: 2, Bytes: 3 << 20, PlannedBytes: 4 << 30,
				EvidenceSinceUnixNs: night, RawSinceUnixNs: night + second, EvidenceKeptSeconds: 2557 * 86400, RawKeptSeconds: 86400, Dropped: 1,
			},
			"head      tcj1.x\nkey       00ff\nevidence  1 record, since 2026-11-18T11:06:40Z; kept for 2557 days\nraw       2 records, since 2026-11-18T11:06:41Z; kept for 1 day\n" +
				"disk      3MiB of 4GiB planned\nlost      1 record that the disk did not take, since the start\n",
		},
	} {
		if code, out, log := (&fakeEvidence{head: c.head}).asks(t, "journal", "head"); code != 0 || out != c.want || log != "" {
			t.Errorf("exit code %d, %s\n%swant\n%s", code, log, out, c.want)
		}
	}
}
