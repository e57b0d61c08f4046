package api

import (
	"context"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// Those who may read cannot have the node hold any number of large answers at a time.
func TestLookupsAreBounded(t *testing.T) {
	e := newFakeEvidence()
	began, release := make(chan string, 64), make(chan struct{})
	e.ask = func(call string) {
		if call != "compliance 30" {
			began <- call
			<-release
		}
	}
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streamsThatEnd(nil), Evidence: e}, Options{Access: everybody})
	client := rpcconnect.NewEvidenceServiceClient(newClient(t, h2c), "http://"+host)
	calls := []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := client.Breaches(ctx, connect.NewRequest(&rpc.BreachesRequest{Limit: breachesMax}))
			return err
		},
		func(ctx context.Context) error {
			_, err := client.History(ctx, connect.NewRequest(&rpc.HistoryRequest{}))
			return err
		},
		func(ctx context.Context) error {
			_, err := client.Journal(ctx, connect.NewRequest(&rpc.JournalRequest{}))
			return err
		},
		func(ctx context.Context) error {
			_, err := client.Acknowledge(ctx, connect.NewRequest(&rpc.AcknowledgeRequest{Id: 1, Note: "n"}))
			return err
		},
	}
	made := make(chan error, len(calls))
	for _, c := range calls {
		go func() { made <- c(t.Context()) }()
	}
	for range calls {
		<-began
	}
	for _, c := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := c(ctx); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "4 calls read the journal") {
			t.Errorf("a fifth one: %v", err)
		}
		cancel()
	}
	if _, err := client.Compliance(t.Context(), connect.NewRequest(&rpc.ComplianceRequest{})); err != nil {
		t.Errorf("another call: %v", err)
	}
	close(release)
	for range calls {
		if err := <-made; err != nil {
			t.Error(err)
		}
	}
}
