package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
)

//go:embed assets/*.js assets/*.css templates/*.html
var embedded embed.FS

// AssetsPath is the path below which the scripts and styles are. They are the same for everybody,
// so that the login page can show them to those who have not logged in yet.
const AssetsPath = "/ui/assets/"

// file returns what an embedded file is served as; nil: there is none.
func file(name string) []byte {
	text, err := fs.ReadFile(embedded, "assets/"+name)
	switch {
	case err != nil:
		return nil
	case name == "dashboard.css", name == "login.css":
		return []byte(denseStyle(string(text)))
	case name == "dashboard.js":
		return []byte(joined(string(text), "\n"))
	}
	return text
}

// asset returns where a browser finds an embedded file: its hash is in the path, so that it can be
// kept for ever.
func asset(name string) string {
	hash := sha256.Sum256(file(name))
	return AssetsPath + hex.EncodeToString(hash[:8]) + "/" + name
}

// newAssets serves the embedded files, each under the path that asset returns and no other.
func newAssets() http.Handler {
	types := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
	files := make(map[string][]byte)
	names, _ := fs.Glob(embedded, "assets/*") // fails for a pattern that is none
	for _, name := range names {
		files[asset(path.Base(name))] = file(path.Base(name))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", types[path.Ext(r.URL.Path)])
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(text) // a client that is gone needs no answer
	})
}
