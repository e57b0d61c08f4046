package daemon

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/store"
)

// wantRefusal opens an appliance that cannot be, and checks that the error says each
// sentence, that its directory has not changed, and that its addresses are free again.
func wantRefusal(t *testing.T, c config.Config, says ...string) error {
	t.Helper()
	before := tree(t, c.Node.DataDir)
	d, err := Open(Options{Config: c, Version: "v0.0.1", Logger: slog.New(slog.DiscardHandler), System: newFakeSystem(today(), synced)})
	if err == nil {
		d.release()
		t.Fatal("it was opened")
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
	if after := tree(t, c.Node.DataDir); after != before {
		t.Errorf("the directory held\n%sand holds\n%s", before, after)
	}
	return err
}

// tree lists a directory with what tells whether something in it was written.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		modified := info.ModTime()
		if info.Name() == "LOCK" { // whoever looks takes the lock, and leaves no other trace
			modified = time.Time{}
		}
		var content []byte
		if entry.Type().IsRegular() {
			content, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %v %v %x\n", path, info.Mode(), modified, sha256.Sum256(content))
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "not a directory") {
		t.Fatal(err)
	}
	return b.String()
}

// udpFree and tcpFree check that nobody is bound to an address any more.
func udpFree(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Error(err)
		return
	}
	conn.Close()
}

func tcpFree(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Error(err)
		return
	}
	l.Close()
}

// freePort returns an address that was free a moment ago, for UDP and TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// TestPortInUse: the second on an address gets an error that names it and says what to do,
// and does not come near its data; the first does not notice.
func TestPortInUse(t *testing.T) {
	first := start(t, newFakeSystem(today(), synced), testConfig(dataDir(t), false), false)
	used := dataDir(t) // a directory with a store in it
	start(t, newFakeSystem(today(), synced), testConfig(used, false), false).stop()
	last := first.now()
	for name, dir := range map[string]string{"new directory": dataDir(t), "used directory": used} {
		t.Run("NTP, "+name, func(t *testing.T) {
			c := testConfig(dir, false)
			c.NTP.Listen = append([]netip.AddrPort{freePort(t)}, first.d.ntp.Addrs()...)
			err := wantRefusal(t, c, first.d.ntp.Addrs()[0].String(), "another NTP server holds the port", "listen on another port; ntp.listen names the addresses")
			if Refused(err) {
				t.Error("the store is blamed")
			}
			udpFree(t, c.NTP.Listen[0])
		})
		t.Run("API, "+name, func(t *testing.T) {
			c := testConfig(dir, false)
			c.NTP.Listen = []netip.AddrPort{freePort(t)}
			c.API.Listen = append([]netip.AddrPort{freePort(t)}, first.d.api.Addrs()...)
			err := wantRefusal(t, c, first.d.api.Addrs()[0].String(), "is another truechimer running?", "set api.listen to a free address")
			if Refused(err) {
				t.Error("the store is blamed")
			}
			udpFree(t, c.NTP.Listen[0])
			tcpFree(t, c.API.Listen[0])
		})
	}
	if ts := first.now(); ts <= last {
		t.Errorf("issued %v after %v", ts, last)
	}
	if m := first.ask(); m.Fault != nil {
		t.Error(m.Fault)
	}
}

// TestNoSuchInterface: an interface that there is not is refused by its name and its key.
func TestNoSuchInterface(t *testing.T) {
	c := testConfig(dataDir(t), false)
	c.NTP.Interface = "nosuch0"
	if err := wantRefusal(t, c, `"nosuch0"`, "; ntp.listen names the addresses and ntp.interface the interface"); Refused(err) {
		t.Error("the store is blamed")
	}
}

// TestDirectoryRefused: a directory that cannot be used is refused with a sentence, and the
// addresses are given back.
func TestDirectoryRefused(t *testing.T) {
	// Nothing is written to it that would change it while it is looked at.
	running := start(t, newFakeSystem(today(), unsynced), testConfig(dataDir(t), false), false)
	held := running.dir
	used := dataDir(t)
	start(t, newFakeSystem(today(), synced), testConfig(used, false), false).stop()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		dir  string
		node uint16
		kind error
		says []string
	}{
		{"held by another", held, 7, store.ErrLocked, []string{"another process has it open", "stop the other truechimer", held}},
		{"of another node", used, 8, store.ErrNode, []string{"belongs to node number 7, not 8", "set the node number back to 7"}},
		{"a file", file, 7, store.ErrForeign, []string{"it is a file, not a directory", "choose an empty directory"}},
		{"below a file", filepath.Join(file, "data"), 7, store.ErrUnwritable, []string{"choose a directory that this user may write"}},
		{"somebody else's", foreign, 7, store.ErrForeign, []string{"thesis.tex", "choose an empty directory"}},
		{"that nobody can make", "/proc/truechimer/data", 7, store.ErrUnwritable, []string{"cannot create it", "choose a directory that this user may write"}},
	}
	if os.Geteuid() != 0 { // root writes wherever it likes
		closed := t.TempDir()
		if err := os.Chmod(closed, 0o500); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, cases[0])
		cases[len(cases)-1].name, cases[len(cases)-1].dir, cases[len(cases)-1].kind = "not writable", closed, store.ErrUnwritable
		cases[len(cases)-1].says = []string{"choose a directory that this user may write"}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig(c.dir, false)
			config.Node.Number = c.node
			config.NTP.Listen = []netip.AddrPort{freePort(t)}
			config.API.Listen = []netip.AddrPort{freePort(t)}
			err := wantRefusal(t, config, c.says...)
			if !Refused(err) || !errors.Is(err, c.kind) {
				t.Errorf("%v is not %v", err, c.kind)
			}
			udpFree(t, config.NTP.Listen[0])
			tcpFree(t, config.API.Listen[0])
		})
	}
	running.system.step(0, synced)
	running.tick()
	running.now()
}
