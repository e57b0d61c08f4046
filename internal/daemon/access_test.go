package daemon

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/config"
)

// TestRights: each right of the configuration is one of the API, and all are all.
func TestRights(t *testing.T) {
	seen := api.Rights(0)
	for _, name := range config.Rights() {
		r := rights([]string{name})
		if r == 0 || seen&r != 0 {
			t.Errorf("%s is %d", name, r)
		}
		seen |= r
	}
	if seen != api.RightsAll {
		t.Errorf("all are %d", seen)
	}
}

// TestReloadAccess: principals come, change and go while it runs, and so do the rights of those
// who show nothing.
func TestReloadAccess(t *testing.T) {
	c := testConfig(dataDir(t), false)
	n := start(t, newFakeSystem(today(), synced), c, false)
	appends := func(token, key string) int {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://%v/truechimer.v1.StreamService/Append", n.d.api.Addrs()[0]),
			strings.NewReader(`{"entries":[{"stream":"a/1","payload":"aGk="}],"idempotencyKey":"`+key+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		return a.StatusCode
	}
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	reload := func(do func(*config.Config)) {
		t.Helper()
		do(&c)
		if _, err := n.d.Reload(c); err != nil {
			t.Fatal(err)
		}
	}
	want("anybody", appends("", "k"), http.StatusOK)
	one, two := config.DefaultPrincipal("one"), config.DefaultPrincipal("two")
	one.Token, one.Rights = config.TokenHash("1"), []string{config.RightAppend}
	two.Token, two.Rights = config.TokenHash("2"), []string{config.RightAppend}
	reload(func(c *config.Config) { c.Principals = []config.Principal{one, two} })
	want("anybody, with principals", appends("", ""), http.StatusUnauthorized)
	want("one", appends("1", "mine"), http.StatusOK)
	want("one again", appends("1", "mine"), http.StatusOK)
	want("two with the key of one", appends("2", "mine"), http.StatusConflict)
	want("one with the key of nobody in particular", appends("1", "k"), http.StatusConflict)
	reload(func(c *config.Config) { c.Principals[0].Streams = []string{"b/"} })
	want("one, elsewhere", appends("1", ""), http.StatusForbidden)
	reload(func(c *config.Config) { c.Principals = []config.Principal{two} })
	want("one, gone", appends("1", ""), http.StatusUnauthorized)
	reload(func(c *config.Config) { c.API.Anonymous = []string{config.RightAppend} })
	want("anybody, told so", appends("", ""), http.StatusOK)
}
