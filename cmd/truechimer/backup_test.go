package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/daemon"
	"github.com/truechimer/truechimer/internal/rpc"
)

// TestBackup: the directory is made absolute, the phases are told, and what came of it.
func TestBackup(t *testing.T) {
	backup := func(r *rpc.BackupRequest, send func(*rpc.BackupResponse)) error {
		send(&rpc.BackupResponse{Phase: "copying", BytesTotal: 100})
		send(&rpc.BackupResponse{Phase: "copying", BytesDone: 100, BytesTotal: 100})
		send(&rpc.BackupResponse{Phase: "checking"})
		send(&rpc.BackupResponse{Phase: "checking", Result: &rpc.BackupResult{Path: r.Path, Streams: 1, Events: 1, EventBytes: 2048, TookNs: 1_234_000_000}})
		return nil
	}
	t.Chdir(t.TempDir())
	dir, err := filepath.Abs("one two")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeStreams{backup: backup}
	code, out, log := f.ask(t, "", "backup", "one two")
	if want := fmt.Sprintf("backed up 1 stream with 1 event (2KiB) to %s in 1.23s\n", dir); code != 0 || !strings.HasPrefix(out, want) || !strings.Contains(out, "truechimer restore '"+dir+"' DATA_DIR") {
		t.Errorf("exit code %d\n%s\nwant %s", code, out, want)
	}
	if log != "copying\nchecking\n" {
		t.Errorf("told %q", log)
	}
	if asked := f.asked[0].(*rpc.BackupRequest).Path; asked != dir {
		t.Errorf("asked for %s, want %s", asked, dir)
	}
	if code, out, _ := f.ask(t, "", "backup", "/b", "--json"); code != 0 || !strings.HasPrefix(strings.ReplaceAll(out, " ", ""), `{"path":"/b",`) {
		t.Errorf("exit code %d, %s", code, out)
	}

	f.backup = func(_ *rpc.BackupRequest, send func(*rpc.BackupResponse)) error {
		send(&rpc.BackupResponse{Phase: "copying"})
		return connect.NewError(connect.CodeAlreadyExists, errors.New("it exists; choose another directory"))
	}
	if code, out, log := f.ask(t, "", "backup", "/b"); code != exitFailed || out != "" || log != "copying\ntruechimer: it exists; choose another directory\n" {
		t.Errorf("exit code %d, %s%s", code, out, log)
	}
	f.backup = func(*rpc.BackupRequest, func(*rpc.BackupResponse)) error { return nil }
	if code, _, log := f.ask(t, "", "backup", "/b"); code != exitUnreachable || log != "truechimer: the server ended the backup without a word; look at its log\n" {
		t.Errorf("exit code %d, %s", code, log)
	}
}

// TestVerifyShows: what is wrong is listed.
func TestVerifyShows(t *testing.T) {
	r := daemon.VerifyReport{ID: "abc", Backup: true, Node: 7, Epoch: 2, Streams: 2, Deleted: 1, Events: 3, Bytes: 5, Retries: 9}
	var out strings.Builder
	c := &client{streams: streams{out: &out}}
	if err := c.printVerified(&r, "b1"); err != nil || out.String() != `
backup  b1
store   abc, node number 7, epoch 2, ceiling 1970-01-01T00:00:00.000000000Z+0000
holds   2 streams with 3 events (5B); 1 deleted stream, 9 idempotency keys
whole   no problem was found
`[1:] {
		t.Errorf("%v\n%s", err, out.String())
	}
	r.Backup, r.Problems, r.MoreProblems = false, []string{"event 7 is missing", "event 9 is damaged"}, 3
	out.Reset()
	if err := c.printVerified(&r, "data"); err != nil || !strings.HasSuffix(out.String(), `
problem         event 7 is missing
problem         event 9 is damaged
                and 3 more
`) {
		t.Errorf("%v\n%s", err, out.String())
	}
	c.json = true
	out.Reset()
	if err := c.printVerified(&r, "data"); err != nil || !strings.HasSuffix(out.String(), `"problems":["event 7 is missing","event 9 is damaged"],"moreProblems":3}`+"\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestRestoreShows: where the store starts, and why.
func TestRestoreShows(t *testing.T) {
	r := daemon.RestoreResult{Dir: "/data", ID: "new", Backup: "old", Epoch: 3, Node: 7, Streams: 1, Events: 2, EventBytes: 1024}
	for _, c := range []struct {
		floor daemon.Floor
		want  string
	}{
		{daemon.Floor{ErrorBound: 3*time.Millisecond + 1, MaxLead: time.Second}, `
restored  1 stream with 2 events (1KiB) in /data
store     new, made of a backup of old; epoch 3
hlc       starts at 1970-01-01T00:00:00.000000000Z+0000: above the time here, its error bound of 3ms (as the kernel says), and the max lead of 1s
next      truechimer serve, with node.data_dir = "/data" and node.number = 7
`[1:]},
		{daemon.Floor{ErrorBound: time.Minute, MaxLead: time.Second, Assumed: true}, "error bound of 1m0s (assumed: nobody vouches for the clock of this machine), and the max lead of 1s\n          it issues nothing until the time is near that; "},
		{daemon.Floor{ErrorBound: time.Minute, MaxLead: time.Second, Given: true}, "error bound of 1m0s (as you said), and the max lead of 1s\nnext"},
	} {
		var out strings.Builder
		cl := &client{streams: streams{out: &out}}
		if err := cl.printRestored(&r, &c.floor); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v\n%s\nwant %s", err, out.String(), c.want)
		}
	}
}

// TestProgress: nothing is drawn at first, then not too often, and nothing is left.
func TestProgress(t *testing.T) {
	var out strings.Builder
	now := time.Now()
	p := newProgress(&out, func() time.Time { return now })
	shown := &phases{bar: p}
	for i := range uint64(20) {
		shown.show("copying", i, 20, i<<20, 20<<20)
		now = now.Add(60 * time.Millisecond)
	}
	shown.show("checking", 3, 4, 0, 0)
	now = now.Add(progressEvery)
	shown.show("reading", 0, 0, 7, 0)
	shown.end()
	shown.end()
	const want = "copying  [##########..............]  45 %  9MiB of 20MiB|copying  [#############...........]  55 %  11MiB of 20MiB|copying  [###############.........]  65 %  13MiB of 20MiB|" +
		"copying  [##################......]  75 %  15MiB of 20MiB|copying  [####################....]  85 %  17MiB of 20MiB|copying  [######################..]  95 %  19MiB of 20MiB|reading  7B|"
	if got := strings.TrimPrefix(strings.ReplaceAll(out.String(), eraseLine, "|"), "|"); got != want {
		t.Errorf("drawn\n%s\nwant\n%s", got, want)
	}
	for want, got := range map[string]string{
		"x  [########################] 100 %  9 of 9": barText("x", 12, 9, func(n uint64) string { return fmt.Sprint(n) }),
		"x  [........................]   0 %  0 of 9": barText("x", 0, 9, func(n uint64) string { return fmt.Sprint(n) }),
		"x  12": barText("x", 12, 0, func(n uint64) string { return fmt.Sprint(n) }),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
