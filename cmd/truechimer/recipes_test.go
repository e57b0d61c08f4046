package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/truechimer/truechimer/internal/rpc"
)

// TestRecipes runs the curl commands of docs/api.md from top to bottom against a node. What
// the page says is what runs, except for the address of the node and the place of the backup,
// and that curl also tells the status. Each is answered without an error, by the message that
// the call has; those that decide something are refused, as there is nothing to decide.
func TestRecipes(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		leaveOut(t, "needs curl")
	}
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	recipes := recipesOf(string(page))
	calls := 0
	for _, file := range []protoreflect.FileDescriptor{rpc.File_truechimer_v1_clock_proto, rpc.File_truechimer_v1_stream_proto, rpc.File_truechimer_v1_node_proto, rpc.File_truechimer_v1_evidence_proto} {
		for i := range file.Services().Len() {
			calls += file.Services().Get(i).Methods().Len()
		}
	}
	if len(recipes) != calls {
		t.Fatalf("%d recipes for %d calls", len(recipes), calls)
	}
	refused := map[protoreflect.Name]string{"AcceptClock": "failed_precondition", "MakeStep": "failed_precondition", "Rebase": "failed_precondition", "Acknowledge": "not_found"}
	s := serveSynchronised(t)
	backups := t.TempDir()
	var watch *recipe
	for i := range recipes {
		r := &recipes[i]
		t.Logf("$ %s", r.line)
		if !strings.Contains(r.line, "http://127.0.0.1:8123/") {
			t.Errorf("%s: not sent to where serve answers", r.call.Name())
		}
		r.start(t, strings.NewReplacer("127.0.0.1:8123", s.api, "/var/backups", backups).Replace(r.line))
		switch {
		case r.call.Name() == "Watch": // has no end
			watch = r
			if _, err := r.out.await(regexp.MustCompile(`"payload":"aGVsbG8="`), r.ended); err != nil {
				t.Errorf("Watch: %v\n%s%s", err, r.out.String(), r.err.String())
			}
		case r.call.IsStreamingServer():
			r.stream(t, "")
		default:
			r.one(t, refused[r.call.Name()])
		}
	}
	if watch == nil {
		t.Fatal("Watch has no recipe")
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	watch.stream(t, "unavailable")
}

// serveSynchronised runs a server with a clock that is synchronised, by trusting another one.
func serveSynchronised(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	other := serveTest(t, dir, "--config", writeConfig(t, dir, ""))
	dir = t.TempDir()
	name := writeConfig(t, dir, "")
	text := fmt.Sprintf("ntp.listen = [\"127.0.0.1:0\"]\napi.listen = [\"127.0.0.1:0\"]\nclock.mode = \"virtual\"\n[[source]]\naddress = %q\ntrust = true\n", other.ntp)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveTest(t, dir, "--config", name)
	if out, err := exec.Command("truechimer", "waitsync", "--timeout", patience.String(), "--api", s.api).CombinedOutput(); err != nil {
		t.Fatalf("waitsync: %v\n%s", err, out)
	}
	return s
}

// recipe is one command of the page, and what came of it.
type recipe struct {
	call     protoreflect.MethodDescriptor
	line     string
	out, err output
	ended    chan struct{} // closed when the command is done
	fault    error         // of the command; valid when ended is closed
}

// recipesOf returns the shell block of each call of the page.
func recipesOf(page string) []recipe {
	var all []recipe
	for _, part := range strings.Split(page, "\n```sh\n")[1:] {
		line, _, _ := strings.Cut(part, "\n```\n")
		path := line[strings.LastIndex(line, "/truechimer.v1.")+1:]
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.Replace(path, "/", ".", 1)))
		if err != nil {
			continue // it is missing then
		}
		all = append(all, recipe{call: d.(protoreflect.MethodDescriptor), line: line})
	}
	return all
}

// start runs the command.
func (r *recipe) start(t *testing.T, line string) {
	t.Helper()
	const status = `curl() { command curl --silent --show-error --noproxy '*' --max-time 20 --write-out '%{http_code}' "$@"; }`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", status+"\n"+line)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &r.out, &r.err, dieWithUs()
	r.ended = make(chan struct{})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		r.fault = cmd.Wait()
	}()
}

// answer returns what came in the end, and the status.
func (r *recipe) answer(t *testing.T) (body, status string) {
	t.Helper()
	<-r.ended // curl has a limit of its own
	out := r.out.String()
	if r.fault != nil || len(out) < 3 {
		t.Errorf("%s: %v\n%s%s", r.call.Name(), r.fault, out, r.err.String())
		return "", ""
	}
	return out[:len(out)-3], out[len(out)-3:]
}

// one checks an answer of one message; or the code, where that is not empty.
func (r *recipe) one(t *testing.T, code string) {
	t.Helper()
	body, status := r.answer(t)
	if code == "" {
		if status != "200" {
			t.Errorf("%s: status %s, %s", r.call.Name(), status, body)
		}
		r.decode(t, []byte(body))
		return
	}
	var refusal struct{ Code, Message string }
	want := map[string]string{"failed_precondition": "400", "not_found": "404"}[code]
	if err := json.Unmarshal([]byte(body), &refusal); err != nil || status != want || refusal.Code != code || refusal.Message == "" {
		t.Errorf("%s: status %s, %s; want %s", r.call.Name(), status, body, code)
	}
}

// stream checks an answer of several messages, and the code with which it ends.
func (r *recipe) stream(t *testing.T, code string) {
	t.Helper()
	body, status := r.answer(t)
	text, messages := []byte(body), 0
	for len(text) >= 5 {
		flags, length := text[0], int(binary.BigEndian.Uint32(text[1:]))
		if text = text[5:]; len(text) < length {
			break
		}
		if flags == 0 {
			r.decode(t, text[:length])
			messages++
		} else {
			var end struct{ Error struct{ Code string } }
			if err := json.Unmarshal(text[:length], &end); err != nil || flags != 2 || end.Error.Code != code || len(text) != length {
				t.Errorf("%s: ended with flags %d, %s; want the code %q", r.call.Name(), flags, text, code)
			}
			if status != "200" || messages == 0 {
				t.Errorf("%s: status %s, %d messages", r.call.Name(), status, messages)
			}
			return
		}
		text = text[length:]
	}
	t.Errorf("%s: no end: %q", r.call.Name(), body)
}

// decode checks that a message is of the call's, without a field that is not.
func (r *recipe) decode(t *testing.T, text []byte) {
	t.Helper()
	if err := protojson.Unmarshal(bytes.TrimSpace(text), dynamicpb.NewMessage(r.call.Output())); err != nil {
		t.Errorf("%s: %v: %s", r.call.Name(), err, text)
	}
}
