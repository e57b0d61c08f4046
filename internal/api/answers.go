package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Answers gives what the services answer to those inside the process: word for word the same. Its
// methods may be called concurrently.
type Answers struct {
	node     *nodeService
	evidence *evidenceService
}

// NewAnswers returns the answers of the services, whose Node and Evidence are asked.
func NewAnswers(s Services) *Answers {
	ctx := context.Background() // none of these has an answer without an end
	return &Answers{node: newNodeService(ctx, s.Node, timescaleOf(s)), evidence: &evidenceService{s.Evidence, ctx}}
}

// Status is NodeService's.
func (a *Answers) Status(ctx context.Context) (*rpc.StatusResponse, error) {
	return inside(ctx, a.node.Status, &rpc.StatusRequest{})
}

// Sources is NodeService's.
func (a *Answers) Sources(ctx context.Context) (*rpc.SourcesResponse, error) {
	return inside(ctx, a.node.Sources, &rpc.SourcesRequest{})
}

// Clients is NodeService's.
func (a *Answers) Clients(ctx context.Context, r *rpc.ClientsRequest) (*rpc.ClientsResponse, error) {
	return inside(ctx, a.node.Clients, r)
}

// Compliance is EvidenceService's.
func (a *Answers) Compliance(ctx context.Context, r *rpc.ComplianceRequest) (*rpc.ComplianceResponse, error) {
	return inside(ctx, a.evidence.Compliance, r)
}

// History is EvidenceService's.
func (a *Answers) History(ctx context.Context, r *rpc.HistoryRequest) (*rpc.HistoryResponse, error) {
	return inside(ctx, a.evidence.History, r)
}

// Hosts is EvidenceService's.
func (a *Answers) Hosts(ctx context.Context, r *rpc.HostsRequest) (*rpc.HostsResponse, error) {
	return inside(ctx, a.evidence.Hosts, r)
}

// JournalHead is EvidenceService's.
func (a *Answers) JournalHead(ctx context.Context, r *rpc.JournalHeadRequest) (*rpc.JournalHeadResponse, error) {
	return inside(ctx, a.evidence.JournalHead, r)
}

// inside makes a call without the network.
func inside[Q, A any](ctx context.Context, method func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), request *Q) (*A, error) {
	answer, err := method(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}
