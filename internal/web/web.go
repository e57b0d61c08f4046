// Package web is the dashboard: pages that show what the API answers, rendered on the server.
//
// It decides nothing. Its pages show the very messages that the API answers with, so that both
// always say the same. Everything in them but the charts works without script; what changes is
// fetched again as fragments of a page. No page asks another host for anything, and none has a
// script or a style of its own: the content security policy forbids both.
//
// Names, reasons and all other text of a message come from sources, clients and operators: they
// are escaped by html/template, and nothing here makes HTML by other means.
//
// Hazard: the handler asks nobody for a credential. Whoever mounts it does (internal/api).
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Source is where the pages get what they show: the same messages that the API answers with. Its
// methods may be called concurrently. A section whose message cannot be had shows the error, and
// the rest of the page stays.
type Source interface {
	Status(ctx context.Context) (*rpc.StatusResponse, error)
	Sources(ctx context.Context) (*rpc.SourcesResponse, error)
	Clients(ctx context.Context, q *rpc.ClientsRequest) (*rpc.ClientsResponse, error)
	Compliance(ctx context.Context, q *rpc.ComplianceRequest) (*rpc.ComplianceResponse, error)
	History(ctx context.Context, q *rpc.HistoryRequest) (*rpc.HistoryResponse, error)
	Hosts(ctx context.Context, q *rpc.HostsRequest) (*rpc.HostsResponse, error)
	JournalHead(ctx context.Context, q *rpc.JournalHeadRequest) (*rpc.JournalHeadResponse, error)
}

// Options of the dashboard.
type Options struct {
	Logger *slog.Logger // hears of pages that could not be made
}

const (
	// askMax is how long all that a page shows may take to be told.
	askMax = 5 * time.Second
	// historyKept is how long a history is shown again before it is asked for anew: all that
	// look at the dashboard share it.
	historyKept = 5 * time.Second
)

// New returns the dashboard: "/" and what is below "/ui/". It answers GET and HEAD.
func New(source Source, o Options) http.Handler {
	d := &dashboard{source: source, log: o.Logger, pages: parse(), memory: memory{past: make(map[rpc.HistorySpan]*past)}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.show("page"))
	mux.HandleFunc("GET /ui/live", d.show("live"))
	mux.HandleFunc("GET /ui/proof", d.show("proof"))
	mux.HandleFunc("GET /ui/detail", d.show("detail"))
	mux.HandleFunc("GET /ui/charts", d.show("charts"))
	mux.HandleFunc("GET /ui/history", d.history)
	mux.Handle("GET "+AssetsPath, newAssets())
	return secured(mux)
}

// dashboard is what the pages are made from.
type dashboard struct {
	source Source
	log    *slog.Logger
	pages  *template.Template
	memory memory
}

// show answers with a page, or with the fragment of it that has the name.
func (d *dashboard) show(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askMax)
		defer cancel()
		v := d.ask(ctx, name, spanNamed(r.URL.Query().Get("span")))
		v.User = userOf(r.Context())
		d.render(w, http.StatusOK, name, v)
	}
}

// history answers with what the charts are drawn of.
func (d *dashboard) history(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askMax)
	defer cancel()
	s := spanNamed(r.URL.Query().Get("span"))
	h, err := d.recall(ctx, s)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	text, err := json.Marshal(plots(figuresOf(h, s)))
	if err != nil {
		d.log.Error("no chart data", "err", err)
		http.Error(w, "the charts' data could not be written; the log has the cause", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // a client that is gone needs no answer
}

func (d *dashboard) render(w http.ResponseWriter, status int, name string, data any) {
	var page bytes.Buffer
	if err := d.pages.ExecuteTemplate(&page, name, data); err != nil {
		d.log.Error("no page", "page", name, "err", err)
		http.Error(w, "the page could not be made; the log has the cause", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // a client that is gone needs no answer
}

// parse reads the templates, which are built in.
func parse() *template.Template {
	t := template.New("").Funcs(words())
	files, _ := fs.Glob(embedded, "templates/*.html") // fails for a pattern that is none
	for _, name := range files {
		text, _ := fs.ReadFile(embedded, name) // it is in memory
		template.Must(t.Parse(densePage(string(text))))
	}
	return t
}

// policy lets a page load from here alone, and run nothing that stands in it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// secured sets the headers of every answer.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		next.ServeHTTP(w, r)
	})
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
