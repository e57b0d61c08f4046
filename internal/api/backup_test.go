package api

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// TestBackupJSON pins a backup as curl sees it: what comes of it is in the last message.
func TestBackupJSON(t *testing.T) {
	node := newFakeNode()
	node.backup = func(_ context.Context, dir string, progress func(store.Progress)) (store.BackupResult, error) {
		progress(store.Progress{Phase: "copying", BytesTotal: 100})
		progress(store.Progress{Phase: "reading", Files: 1, FilesTotal: 2, Bytes: 3, BytesTotal: 4})
		return store.BackupResult{Dir: dir + "/real", ID: "0011", Ceiling: noon, Streams: 5, Events: 6, EventBytes: 7, Files: 8, Bytes: 9}, nil
	}
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: node})
	a := send(t, newClient(t), http.MethodPost, base+"/truechimer.v1.NodeService/Backup", envelope(`{"path":"/backup"}`), map[string]string{"Content-Type": "application/connect+json"})
	body := []byte(a.body)
	for _, want := range []string{
		"\x00" + `{"phase":"copying","filesDone":"0","filesTotal":"0","bytesDone":"0","bytesTotal":"100","result":null}`,
		"\x00" + `{"phase":"reading","filesDone":"1","filesTotal":"2","bytesDone":"3","bytesTotal":"4","result":null}`,
		"\x00" + `{"phase":"reading","filesDone":"1","filesTotal":"2","bytesDone":"3","bytesTotal":"4","result":{"path":"/backup/real","storeId":"0011","ceiling":"1795000000000000000","streams":"5","events":"6","eventBytes":"7","files":"8","bytes":"9","tookNs":"`,
		"\x02" + `{}`,
	} {
		if len(body) < 5 {
			t.Fatalf("nothing is left for %q", want)
		}
		n := 5 + binary.BigEndian.Uint32(body[1:])
		if got := string(body[:1]) + compact(t, string(body[5:n])); !strings.HasPrefix(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		body = body[n:]
	}
	if len(body) > 0 {
		t.Errorf("and then %q", body)
	}
}

// TestBackupErrors: a path that means something else to the node than to its caller is
// refused, and errors keep their sentence.
func TestBackupErrors(t *testing.T) {
	node := newFakeNode()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: node})
	backup := func(path string) error {
		s, err := rpcconnect.NewNodeServiceClient(newClient(t), base).Backup(t.Context(), connect.NewRequest(&rpc.BackupRequest{Path: path}))
		if err != nil {
			return err
		}
		defer s.Close()
		for s.Receive() {
		}
		return s.Err()
	}
	for _, path := range []string{"", "backup", "./backup", "~/backup"} {
		if err := backup(path); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "give an absolute path") {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, c := range []struct {
		err  error
		code connect.Code
	}{
		{fmt.Errorf("copy: %w; hint", syscall.ENOSPC), connect.CodeResourceExhausted},
		{fmt.Errorf("%w: it holds something; hint", store.ErrRefused), connect.CodeFailedPrecondition},
		{fmt.Errorf("%w; hint", store.ErrBackupRunning), connect.CodeResourceExhausted},
		{fmt.Errorf("%w; hint", store.ErrFenced), connect.CodeUnavailable},
		{fmt.Errorf("%w; hint", store.ErrDamaged), connect.CodeDataLoss},
		{fmt.Errorf("%w; hint", errUnlisted), connect.CodeInternal},
	} {
		node.backup = func(context.Context, string, func(store.Progress)) (store.BackupResult, error) {
			return store.BackupResult{}, c.err
		}
		if err := backup("/backup"); connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), "hint") {
			t.Errorf("%v: got %v", c.err, err)
		}
	}
}

// TestBackupEnds: a backup takes as long as it takes, and ends with its caller, with the
// server, and where its progress is not read.
func TestBackupEnds(t *testing.T) {
	// What is compressed well would take a thousand messages to fill the windows of HTTP/2.
	noise := make([]byte, 400_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	long := hex.EncodeToString(noise)
	for _, c := range []struct {
		name string
		end  func(leave, stop func())
		code connect.Code // that the caller gets; 0: it did not wait for an answer
		says string
	}{
		{"the caller leaves", func(leave, _ func()) { leave() }, 0, ""},
		{"the server stops", func(_, stop func()) { stop() }, connect.CodeUnavailable, "the backup was given up"},
		{"nobody reads", func(_, _ func()) {}, 0, ""},
	} {
		for name, protocols := range map[string][]func(*http.Protocols){"HTTP/1.1": nil, "h2c": {h2c}} {
			t.Run(c.name+" over "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPipes()
					node := newFakeNode()
					ended := make(chan error, 1)
					copying := make(chan struct{})
					node.backup = func(ctx context.Context, _ string, progress func(store.Progress)) (store.BackupResult, error) {
						progress(store.Progress{Phase: "copying"})
						time.Sleep(10 * callMax) // nothing to tell for a while
						close(copying)
						for c.name == "nobody reads" && ctx.Err() == nil {
							progress(store.Progress{Phase: long})
						}
						<-ctx.Done()
						ended <- ctx.Err()
						return store.BackupResult{}, ctx.Err()
					}
					stop := run(t, on(p, 10), Services{Issuer: fakeIssuer{}, Node: node})
					ctx, leave := context.WithCancel(t.Context())
					client := p.client(t, protocols...)
					s, err := rpcconnect.NewNodeServiceClient(client, "http://localhost").Backup(ctx, connect.NewRequest(&rpc.BackupRequest{Path: "/backup"}))
					if err != nil || !s.Receive() || s.Msg().Phase != "copying" {
						t.Fatal(err)
					}
					<-copying
					start := time.Now()
					told := make(chan error, 1)
					if c.code != 0 {
						go func() {
							for s.Receive() {
							}
							told <- s.Err()
						}()
					}
					synctest.Wait()
					c.end(leave, stop)
					if err := <-ended; !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					if took := time.Since(start); took > unresponsiveAfter+time.Second {
						t.Errorf("ended after %v", took)
					}
					if c.code != 0 {
						if err := <-told; connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
							t.Errorf("ended with %v", err)
						}
					}
					leave()
					s.Close()
					client.CloseIdleConnections()
					stop()
				})
			})
		}
	}
}
