package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// lines reads what was written to an access log.
func lines(t *testing.T, name string) (all []refusal) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r refusal
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, r)
	}
	return all
}

// TestJournal: refusals are appended, some tens a second, with how many were left out, and the
// file is found again where it was moved away.
func TestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "refused.log")
		write(t, name, []byte(`{"call":"before"}`+"\n"))
		j, err := newJournal(name, quiet)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); j.run(ctx) }()
		for i := range 1000 {
			j.refused("192.0.2.1:1", "one", fmt.Sprint("call ", i), errForbidden)
		}
		time.Sleep(2 * time.Second)
		got := lines(t, name)
		if n := len(got); n != 1+refusalsMax+1 || got[0].Call != "before" || got[1].Call != "call 0" || got[1].Code != "permission_denied" || got[1].Principal != "one" || got[1].Address != "192.0.2.1:1" {
			t.Fatalf("%d lines: %+v", n, got)
		}
		if last := got[len(got)-1]; last.LeftOut != 1000-refusalsMax {
			t.Errorf("the last: %+v", last)
		}
		if n := j.counts[errForbidden.Code()].Load(); n != 1000 {
			t.Errorf("%d are counted", n)
		}
		if err := os.Rename(name, name+".1"); err != nil {
			t.Fatal(err)
		}
		j.again()
		synctest.Wait()
		j.refused("", "", "later", errUnknown)
		synctest.Wait()
		if got := lines(t, name); len(got) != 1 || got[0].Call != "later" || got[0].Code != "unauthenticated" {
			t.Errorf("after the move: %+v", got)
		}
		cancel()
		<-done
		j.close()
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o027 != 0 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
}

// TestJournalFull: a disk that is full, or hangs, stops nobody, and is told once.
func TestJournalFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		j, err := newJournal("/dev/full", slog.New(slog.NewTextHandler(&told, nil)))
		if err != nil {
			t.Skip(err)
		}
		for range 10 * refusalsQueued { // nobody writes: the disk hangs
			j.refused("", "", "call", errUnknown)
			time.Sleep(time.Second)
		}
		if n := j.left.Load(); n == 0 {
			t.Error("everything was queued")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		j.run(ctx)
		j.close()
		if n := strings.Count(told.String(), "access log cannot be written"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &told)
		}
	})
}

// TestJournalOfCalls: what is refused on the way in, inside a call, and at the handshake is
// written down, with who it was.
func TestJournalOfCalls(t *testing.T) {
	ours := newAuthority(t, "ours")
	name := filepath.Join(t.TempDir(), "refused.log")
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: newFakeStreams()},
		Options{Access: crowd(0), TLS: tlsFiles(t, t.TempDir(), ours.server(t), ours), AccessLog: name})
	client := newTLSClient(t, ours, nil)
	knock(t, client, "https://"+host, rpcconnect.ClockServiceNowProcedure, "application/json", "secret", "{}")
	knock(t, client, "https://"+host, rpcconnect.ClockServiceNowProcedure, "application/json", "read", "{}")
	knock(t, client, "https://"+host, rpcconnect.StreamServiceReadProcedure, "application/json", "some", `{"stream":"other"}`)
	expired := newTLSClient(t, ours, shows(ours.client(t, "a", time.Now().Add(-time.Minute))))
	if _, err := expired.Get("https://" + host + "/livez"); err == nil {
		t.Fatal("an expired certificate is taken")
	}
	want := []refusal{
		{Call: rpcconnect.ClockServiceNowProcedure, Code: "unauthenticated"},
		{Call: rpcconnect.ClockServiceNowProcedure, Code: "permission_denied", Principal: "read"},
		{Call: rpcconnect.StreamServiceReadProcedure, Code: "permission_denied", Principal: "some"},
		{Call: "TLS handshake: tls: failed to verify certificate: x509: ", Code: "unauthenticated"},
	}
	var got []refusal
	for deadline := time.Now().Add(patience); len(got) < len(want) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		got = lines(t, name)
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines: %+v", len(got), got)
	}
	for i, w := range want {
		g := got[i]
		if !strings.HasPrefix(g.Call, w.Call) || g.Code != w.Code || g.Principal != w.Principal || !strings.HasPrefix(g.Address, "127.0.0.1:") || g.Time.IsZero() {
			t.Errorf("line %d: %+v, want %+v", i, g, w)
		}
	}
	if text, _ := os.ReadFile(name); strings.Contains(string(text), "secret") {
		t.Error("a token is in the log")
	}
}
