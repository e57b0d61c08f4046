package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
)

// TestRedirect: the token is shown to the server that was named, and to nobody whom that names.
func TestRedirect(t *testing.T) {
	t.Setenv(tokenVariable, "secret")
	var shown, led atomic.Int64
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	defer stranger.Close()
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		named := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer secret" {
				shown.Add(1)
			}
			http.Redirect(w, r, stranger.URL+r.URL.Path, status)
		}))
		c := &client{streams: streams{out: io.Discard, err: io.Discard}, address: named.URL}
		ctx := context.Background()
		if _, err := c.clock().Now(ctx, connect.NewRequest(&rpc.NowRequest{})); err == nil {
			t.Errorf("%d: clock: answered", status)
		}
		if _, err := c.node().Status(ctx, connect.NewRequest(&rpc.StatusRequest{})); err == nil {
			t.Errorf("%d: node: answered", status)
		}
		if _, err := c.stream().Describe(ctx, connect.NewRequest(&rpc.DescribeRequest{})); err == nil {
			t.Errorf("%d: stream: answered", status)
		}
		if s, err := c.nodeWithoutLimit().Backup(ctx, connect.NewRequest(&rpc.BackupRequest{})); err == nil {
			for s.Receive() {
			}
			s.Close()
		}
		named.Close()
	}
	if shown.Load() != 8 || led.Load() != 0 {
		t.Errorf("the server that was named saw the token %d times of 8, a stranger was asked %d times", shown.Load(), led.Load())
	}
}
