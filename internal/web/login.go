package web

import (
	"bytes"
	"context"
	"html/template"
	"net/http"
)

// Login is the page that asks for a token.
type Login struct{ pages *template.Template }

// NewLogin returns the login page.
func NewLogin() *Login { return &Login{parse()} }

// Show answers with the login page and a status, and with what went wrong, a sentence, where
// something did. The page's form posts the field "token" to "/login".
func (l *Login) Show(w http.ResponseWriter, status int, fault string) {
	secure(w.Header())
	var page bytes.Buffer
	if err := l.pages.ExecuteTemplate(&page, "login", fault); err != nil {
		http.Error(w, "the login page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // a client that is gone needs no answer
}

// userKey is the key of who has logged in, in the context of a request.
type userKey struct{}

// WithUser returns a context for the request of somebody who has logged in: pages say so, and how
// to log out (a post to "/logout").
func WithUser(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, userKey{}, name)
}

func userOf(ctx context.Context) string {
	name, _ := ctx.Value(userKey{}).(string)
	return name
}
