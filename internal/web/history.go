package web

import (
	"context"
	"sync"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// span is how far the charts go back.
type span struct {
	Name    string // in addresses
	Label   string
	Words   string // as in "over the last hour"
	Refresh int    // how often the charts are made anew, seconds
	value   rpc.HistorySpan
}

func spans() []span {
	return []span{
		{"hour", "1 h", "hour", 10, rpc.HistorySpan_HISTORY_SPAN_HOUR},
		{"day", "24 h", "24 hours", 60, rpc.HistorySpan_HISTORY_SPAN_DAY},
		{"month", "30 d", "30 days", 600, rpc.HistorySpan_HISTORY_SPAN_MONTH},
	}
}

// spanNamed returns the span with the name; an hour where there is none.
func spanNamed(name string) span {
	all := spans()
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return all[0]
}

// memory is what was told of the past a moment ago. Its methods may be called concurrently.
type memory struct {
	mu   sync.Mutex
	past map[rpc.HistorySpan]*past
}

// past is one span's history.
type past struct {
	asking chan struct{} // holds one while it is being asked for
	at     time.Time     // when it was told
	told   *rpc.HistoryResponse
}

func (m *memory) of(s span) *past {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.past[s.value]
	if p == nil {
		p = &past{asking: make(chan struct{}, 1)}
		m.past[s.value] = p
	}
	return p
}

// recall returns the history of a span as it was told at the most historyKept ago. One at a time
// asks for it; an error is told to that one alone. Nobody changes what it returns.
func (d *dashboard) recall(ctx context.Context, s span) (*rpc.HistoryResponse, error) {
	p := d.memory.of(s)
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.told != nil && time.Since(p.at) < historyKept {
		return p.told, nil
	}
	told, err := d.source.History(ctx, &rpc.HistoryRequest{Span: s.value})
	if err != nil {
		return nil, err
	}
	p.told, p.at = told, time.Now()
	return told, nil
}
