package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/web"
)

// A browser cannot send a token with every request, so that a login turns one into a cookie. The
// cookie stands for the token on the dashboard's own pages and nowhere else: no call takes it, so that
// no foreign page can have a browser make one. It is worth what its token is worth at that moment.

const (
	// loginsMax is how many cookies are remembered; the oldest makes room.
	loginsMax  = 1024
	loginLasts = 12 * time.Hour
	// loginLenMax is how long the form may be, bytes; a token has less than a hundred.
	loginLenMax = 4 << 10
	// loginsPerSecond is how often one address may try, on average.
	loginsPerSecond = 3
	cookieName      = "truechimer_login"
	cookieLen       = 32 // bytes, of chance
)

// login is a cookie that was handed out.
type login struct {
	id    [sha256.Size]byte // the hash of the cookie's value, as of a token
	token [sha256.Size]byte
	until time.Time
}

// logins are the cookies that were handed out, the oldest first. Its methods may be called
// concurrently.
type logins struct {
	mu  sync.Mutex
	all []login
}

// add remembers a cookie for a token, and returns the cookie's value.
func (l *logins) add(token [sha256.Size]byte, now time.Time) string {
	var chance [cookieLen]byte
	_, _ = rand.Read(chance[:]) // it never fails
	value := base64.RawURLEncoding.EncodeToString(chance[:])
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(known login) bool { return !now.Before(known.until) })
	if len(l.all) >= loginsMax {
		l.all = slices.Delete(l.all, 0, len(l.all)-loginsMax+1)
	}
	l.all = append(l.all, login{sha256.Sum256([]byte(value)), token, now.Add(loginLasts)})
	return value
}

// find returns the token that a cookie's value stands for.
func (l *logins) find(value string, now time.Time) (token [sha256.Size]byte, ok bool) {
	id := sha256.Sum256([]byte(value))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, known := range l.all {
		if known.id == id {
			return known.token, now.Before(known.until)
		}
	}
	return token, false
}

// remove forgets a cookie.
func (l *logins) remove(value string) {
	id := sha256.Sum256([]byte(value))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(known login) bool { return known.id == id })
}

// keep forgets the cookies of tokens that are not in the table: one that was taken back and is put
// in again later does not bring them back.
func (l *logins) keep(t *table) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(known login) bool { return t.tokens[known.token] == nil })
}

// drop forgets some. The caller holds the lock.
func (l *logins) drop(some func(login) bool) { l.all = slices.DeleteFunc(l.all, some) }

// dashboard is the gate before the pages for people.
type dashboard struct {
	gate  *gate
	pages http.Handler
	login *web.Login
	cross *http.CrossOriginProtection
	tries *addresses // and how often they tried to log in: one try is one timestamp
}

// toRead is what metrics and health need where they are not open.
func toRead() rule { return rule{right: RightRead} }

// toLook is what the dashboard needs: as much as any of the calls whose answers its pages show.
func toLook() rule { return rule{right: RightRead, whole: true} }

// mountDashboard puts the pages, and the login before them, in front of the gate.
func mountDashboard(mux *http.ServeMux, gate *gate, pages http.Handler, limits *limits) {
	d := &dashboard{gate: gate, pages: pages, login: web.NewLogin(), cross: http.NewCrossOriginProtection(), tries: newAddresses(addressesMax)}
	mux.Handle("/{$}", d.guard(limits.pages(pages)))
	mux.Handle("/ui/", d.guard(limits.pages(pages)))
	mux.Handle(web.AssetsPath, pages) // the login page needs them, and they say nothing of this node
	mux.HandleFunc("POST /login", d.logIn)
	mux.HandleFunc("POST /logout", d.logOut)
	mux.Handle("GET /login", http.RedirectHandler("/", http.StatusSeeOther))
}

// guard lets in who may read: by a token or a certificate, without any where everybody may, or by
// a cookie, which counts for GET and HEAD alone.
func (d *dashboard) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, fault := d.gate.identify(r, toLook())
		user := ""
		if fault != nil && d.byCookie(r, c) {
			fault, user = nil, c.who.Name
		}
		if fault == nil {
			if fault = c.enter(aCall); fault != nil {
				d.gate.note(c, fault)
				http.Error(w, fault.Message(), http.StatusTooManyRequests)
				return
			}
			defer c.leave(aCall)
			next.ServeHTTP(w, r.WithContext(web.WithUser(r.Context(), user)))
			return
		}
		d.gate.note(c, fault)
		hasten(w)
		w.Header().Set("WWW-Authenticate", "Bearer")
		if r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html") {
			d.login.Show(w, http.StatusUnauthorized, "")
			return
		}
		http.Error(w, fault.Message(), http.StatusUnauthorized)
	})
}

// byCookie reports whether a request that shows nothing better has a cookie whose token may read, and
// says so to the caller.
func (d *dashboard) byCookie(r *http.Request, c *caller) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Authorization") != "" {
		return false
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	token, ok := d.gate.logins.find(cookie.Value, time.Now())
	if !ok {
		return false
	}
	shown := credential{token: token, has: true}
	who, usage, fault := d.gate.judge(&shown, toLook())
	if fault != nil {
		d.gate.logins.remove(cookie.Value)
		return false
	}
	c.shown, c.who, c.usage = shown, who, usage
	return true
}

// What the login page says when a login failed: the same for every token.
const (
	loginRefused = "This token is not known here, or has no right to read."
	loginTooFast = "Too many attempts from your address. Wait a second and try again."
)

var (
	errForeign = connect.NewError(connect.CodePermissionDenied, errors.New("this form was sent by a page of another site; open the dashboard itself and log in there"))
	errTries   = connect.NewError(connect.CodeResourceExhausted, errors.New("too many attempts to log in from this address; wait a second"))
)

// logIn turns a token into a cookie.
func (d *dashboard) logIn(w http.ResponseWriter, r *http.Request) {
	c := &caller{gate: d.gate, rule: toLook(), name: r.URL.Path, from: r.RemoteAddr}
	if err := d.cross.Check(r); err != nil {
		d.gate.note(c, errForeign)
		hasten(w)
		http.Error(w, errForeign.Message(), http.StatusForbidden)
		return
	}
	if !d.mayTry(r.RemoteAddr) {
		d.gate.note(c, errTries)
		hasten(w)
		w.Header().Set("Retry-After", "1")
		d.login.Show(w, http.StatusTooManyRequests, loginTooFast)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, loginLenMax)
	token := strings.TrimSpace(r.PostFormValue("token")) // empty where the form cannot be read
	c.shown = credential{token: sha256.Sum256([]byte(token)), has: true}
	var fault *connect.Error
	if c.who, c.usage, fault = d.gate.judge(&c.shown, toLook()); fault != nil {
		d.gate.note(c, fault)
		d.login.Show(w, http.StatusUnauthorized, loginRefused)
		return
	}
	setCookie(w, r, d.gate.logins.add(c.shown.token, time.Now()), 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// logOut forgets a cookie, here and in the browser.
func (d *dashboard) logOut(w http.ResponseWriter, r *http.Request) {
	if err := d.cross.Check(r); err != nil {
		http.Error(w, errForeign.Message(), http.StatusForbidden)
		return
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		d.gate.logins.remove(cookie.Value)
	}
	setCookie(w, r, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// setCookie sets the cookie until the browser ends (age 0), or takes it away (age -1).
func setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	w.Header().Set("Cache-Control", "no-store")
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// mayTry draws one attempt from those of an address. A token cannot be guessed; this is for the log,
// and for who would fill the memory with logins.
func (d *dashboard) mayTry(from string) bool {
	addr, err := netip.ParseAddrPort(from)
	if err != nil {
		return false
	}
	u, _ := d.tries.enter(holder(addr.Addr()), aCall, loginsMax)
	if u == nil {
		return false
	}
	defer u.leave(aCall)
	return u.timestamps.take(d.gate.now(), 1, loginsPerSecond) == 0
}

// pages has the pages that are being made count as calls in progress.
func (l *limits) pages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case l.calls.slots <- struct{}{}:
			defer func() { <-l.calls.slots }()
			next.ServeHTTP(w, r)
		default:
			http.Error(w, l.calls.full.Message(), http.StatusServiceUnavailable)
		}
	})
}
