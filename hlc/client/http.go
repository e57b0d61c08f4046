package client

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/truechimer/truechimer/hlc"
)

// TimeHeader is the header, and the trailer, of HTTP that carries a past, in decimal form.
const TimeHeader = "Truechimer-Time"

// Handler gives each request a past of its own, which begins with the one that came in its
// header, and sends it back with the response: in the header, as it is when that is written,
// and again as a trailer where it has moved since and the response can have one. That is so
// over HTTP/2, and over HTTP/1.1 where the response goes in chunks, such as after a Flush:
// so ask for timestamps before writing the response. A header that is no timestamp counts as none.
//
// A past that is too far ahead moves nobody: calls of a Client with the context of such a request
// fail with hlc.ErrLead, and next decides what to answer.
//
// Hazard: within the max lead whoever sends the header moves the hybrid clock, and so, for a
// second or so, all timestamps. Where requests of strangers come in, remove it from them.
//
// The ResponseWriter that next gets is an http.Flusher and an io.ReaderFrom; for the rest,
// such as to hijack the connection, use an http.ResponseController.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := WithPast(r.Context(), headerTime(r.Header))
		stamped := &responseWriter{ResponseWriter: w, ctx: ctx}
		next.ServeHTTP(stamped, r.WithContext(ctx))
		stamped.finish()
	})
}

// responseWriter puts the past of ctx into the header before that is written. Like any
// http.ResponseWriter, it is for one goroutine.
type responseWriter struct {
	http.ResponseWriter
	ctx     context.Context
	written bool          // the header is, or about to be
	sent    hlc.Timestamp // what was in it
}

// stamp is called before anything that writes the header.
func (w *responseWriter) stamp() {
	if w.written {
		return
	}
	w.written = true
	w.sent = Past(w.ctx)
	setHeaderTime(w.Header(), TimeHeader, w.sent)
}

// finish is called when the handler has returned.
func (w *responseWriter) finish() {
	w.stamp()
	if past := Past(w.ctx); past > w.sent {
		setHeaderTime(w.Header(), http.TrailerPrefix+TimeHeader, past)
	}
}

// WriteHeader stamps the response, and not the informational ones before it.
func (w *responseWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.stamp()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(b []byte) (int, error) {
	w.stamp()
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps the ways that the server has for files.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.stamp()
	return io.Copy(w.ResponseWriter, r)
}

// FlushError is what http.ResponseController looks for.
func (w *responseWriter) FlushError() error {
	w.stamp()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *responseWriter) Flush() { _ = w.FlushError() }

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Transport sends the past of a request's context along, and moves it on to what comes with the
// response: its header when RoundTrip returns, its trailer once the body has been read to its
// end. Without a past it only passes requests on. It may be used concurrently, as far as Base may.
type Transport struct {
	Base http.RoundTripper // nil means http.DefaultTransport
}

// RoundTrip sends a request, which it does not change.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if past := Past(ctx); past > 0 {
		r = r.Clone(ctx)
		if r.Header == nil {
			r.Header = http.Header{}
		}
		setHeaderTime(r.Header, TimeHeader, past)
	}
	response, err := t.base().RoundTrip(r)
	if err != nil {
		return response, err
	}
	Saw(ctx, headerTime(response.Header))
	// The body of an upgraded connection is more than a reader.
	if hasPast(ctx) && response.StatusCode != http.StatusSwitchingProtocols {
		response.Body = &responseBody{response.Body, ctx, response}
	}
	return response, nil
}

// CloseIdleConnections is for http.Client's.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// responseBody looks at the trailer, which is there at the end.
type responseBody struct {
	io.ReadCloser
	ctx      context.Context
	response *http.Response
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		Saw(b.ctx, headerTime(b.response.Trailer))
	}
	return n, err
}

// hasPast reports whether Saw can do anything.
func hasPast(ctx context.Context) bool { return ctx.Value(pastKey{}) != nil }

// headerTime returns the greatest timestamp in a header; 0: there is none.
func headerTime(h http.Header) hlc.Timestamp {
	return greatest(h[TimeHeader])
}

// greatest returns the greatest timestamp among texts; what is none is ignored.
func greatest(texts []string) hlc.Timestamp {
	var found hlc.Timestamp
	for _, text := range texts {
		if ts, err := hlc.Parse(text); err == nil {
			found = max(found, ts)
		}
	}
	return found
}

// setHeaderTime sets a header, unless it is there with a later timestamp, such as what a
// proxied server said.
func setHeaderTime(h http.Header, name string, ts hlc.Timestamp) {
	if ts > greatest(h[name]) {
		h[name] = []string{strconv.FormatUint(uint64(ts), 10)}
	}
}
