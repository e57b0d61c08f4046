package archtest

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// imports maps each name that a file gives to an import to its path. It takes the
// last element of a path for the package's name, which holds for the standard
// library and for ours.
func (f file) imports() map[string]string {
	names := map[string]string{}
	for _, spec := range f.tree.Imports {
		p := importPath(spec)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	return p
}

// own returns the directory of an import of ours.
func own(importPath string) (dir string, ok bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// isStandard reports whether the import is of the standard library: only there
// has the first element no dot.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".") && importPath != "C"
}

// checkPackage demands that every package, and every package's tests, have a row
// in the table, and a name that says something.
func checkPackage(f file) []Violation {
	var found []Violation
	if _, ok := levelOf(f.dir); !ok {
		found = append(found, f.violation(f.tree.Name, "levels", "package %s has no row in the table of levels", f.dir))
	}
	if slices.Contains([]string{"util", "utils", "common", "types", "helpers"}, path.Base(f.dir)) {
		found = append(found, f.violation(f.tree.Name, "names", "package %s is named after nothing", f.dir))
	}
	return found
}

// checkImports demands that imports go down, and that commands use what they may.
func checkImports(f file) []Violation {
	var found []Violation
	from, _ := levelOf(f.dir)
	for _, spec := range f.tree.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			found = append(found, f.violation(spec, "imports", "a dot import hides where names come from"))
		}
		dir, ours := own(importPath(spec))
		if !ours {
			continue
		}
		to, known := levelOf(dir)
		switch {
		case !known:
			found = append(found, f.violation(spec, "levels", "imports %s, which has no row in the table of levels", dir))
		case to.level > from.level:
			found = append(found, f.violation(spec, "levels", "%s (level %d) imports %s (level %d): imports go down",
				f.dir, from.level, dir, to.level))
		}
		allowed := func(pattern string) bool { return matches(pattern, dir) }
		if matches("cmd/...", f.dir) && !slices.ContainsFunc(cmdImports(), allowed) {
			found = append(found, f.violation(spec, "commands", "a command imports %s: it has no logic, and uses only %s",
				dir, strings.Join(cmdImports(), ", ")))
		}
	}
	return found
}

// impure are the imports that no pure package has, with everything below them.
func impure() []string {
	return []string{"os", "log", "math/rand", "crypto/rand", "syscall", "C", "unsafe", "plugin", "testing", "expvar", "runtime/debug"}
}

// clockNames are the names that read a clock or wait for one, by import.
func clockNames() map[string][]string {
	return map[string][]string{
		"time":    {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
		"context": {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"},
	}
}

// mayReadClock lists what the one exception may use: the physical time of hlc.
func mayReadClock(name, importPath, selector string) bool {
	return name == "hlc/physical.go" && importPath == "time" && (selector == "Now" || selector == "Since")
}

// checkPure demands that a package decides and touches nothing: no net, no files,
// no log, no clock, no chance, no goroutine.
func checkPure(f file) []Violation {
	var found []Violation
	for _, spec := range f.tree.Imports {
		p := importPath(spec)
		_, ours := own(p)
		bad := func(pattern string) bool { return matches(pattern+"/...", p) }
		switch {
		case slices.ContainsFunc(impure(), bad) || matches("net/...", p) && p != "net/netip":
			found = append(found, f.violation(spec, "purity", "pure package %s imports %s", f.dir, p))
		case !ours && !isStandard(p):
			found = append(found, f.violation(spec, "purity", "pure package %s imports %s, of which nobody knows what it touches", f.dir, p))
		case ours && !pureImport(p):
			found = append(found, f.violation(spec, "purity", "pure package %s imports %s, which is not pure", f.dir, p))
		}
	}
	names := f.imports()
	clocks := clockNames()
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, f.violation(n, "purity", "pure package %s starts a goroutine", f.dir))
		case *ast.SelectorExpr:
			p := selected(names, n)
			if slices.Contains(clocks[p], n.Sel.Name) && !mayReadClock(f.name, p, n.Sel.Name) {
				found = append(found, f.violation(n, "purity", "pure package %s uses %s.%s: time is an argument", f.dir, p, n.Sel.Name))
			}
		case *ast.Comment:
			if strings.HasPrefix(n.Text, "//go:linkname") {
				found = append(found, f.violation(n, "purity", "pure package %s reaches into another by linkname", f.dir))
			}
		}
		return true
	})
	return found
}

func pureImport(importPath string) bool {
	dir, _ := own(importPath)
	l, _ := levelOf(dir)
	return l.pure
}

// selected is the path of the import that a selector selects from, or "".
func selected(names map[string]string, s *ast.SelectorExpr) string {
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return names[x.Name]
}

// checkHouse holds the house rules: only main exits, nothing runs by being
// imported, and a panic says which invariant of ours is broken.
func checkHouse(f file) []Violation {
	var found []Violation
	names := f.imports()
	explained := f.invariantLines()
	for _, decl := range f.tree.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, f.violation(fn, "init", "nothing may happen by being imported"))
		}
		inMain := ok && fn.Recv == nil && fn.Name.Name == "main" && f.tree.Name.Name == "main"
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				p, name := selected(names, n), n.Sel.Name
				exits := p == "os" && name == "Exit" && !inMain ||
					p == "log" && (strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic"))
				if exits {
					found = append(found, f.violation(n, "exit", "%s.%s: only main exits", p, name))
				}
			case *ast.CallExpr:
				id, isName := n.Fun.(*ast.Ident)
				line := f.fset.Position(n.Pos()).Line
				if isName && id.Name == "panic" && !explained[line] && !explained[line-1] {
					found = append(found, f.violation(n, "panic",
						"panic without a comment that begins \"invariant:\": input, disk and network return errors"))
				}
			}
			return true
		})
	}
	return found
}

// invariantLines are the lines that a comment about an invariant ends on.
func (f file) invariantLines() map[int]bool {
	lines := map[int]bool{}
	for _, group := range f.tree.Comments {
		if strings.HasPrefix(strings.ToLower(group.Text()), "invariant") {
			lines[f.fset.Position(group.End()).Line] = true
		}
	}
	return lines
}

// checkSurface demands that what a public package exports can be used without
// its internal packages. It looks at the text of declarations alone: a type that
// is inferred shows in the call or literal that it is inferred from.
func checkSurface(f file) []Violation {
	s := surface{file: f, names: f.imports()}
	for _, decl := range f.tree.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) {
				s.typ(d.Name.Name, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				s.spec(spec)
			}
		}
	}
	return s.found
}

type surface struct {
	file  file
	names map[string]string
	found []Violation
}

func (s *surface) spec(spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			if spec.TypeParams != nil {
				s.fields(spec.Name.Name, spec.TypeParams)
			}
			s.typ(spec.Name.Name, spec.Type)
		}
	case *ast.ValueSpec:
		if !slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
			return
		}
		if spec.Type != nil {
			s.typ(spec.Names[0].Name, spec.Type)
			return
		}
		for _, value := range spec.Values {
			s.value(spec.Names[0].Name, value)
		}
	}
}

// typ reports internal types in the type of an exported name. Fields that are
// not exported are nobody's business.
func (s *surface) typ(name string, t ast.Node) {
	ast.Inspect(t, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			s.fields(name, n.Fields)
			return false
		case *ast.SelectorExpr:
			s.selector(name, n)
		}
		return true
	})
}

func (s *surface) fields(name string, list *ast.FieldList) {
	for _, field := range list.List {
		embedded := len(field.Names) == 0
		if embedded || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
			s.typ(name, field.Type)
		}
	}
}

// value reports internal types that a value has by inference. The value of a
// name of ours that is an error has a type that everyone knows.
func (s *surface) value(name string, v ast.Expr) {
	switch v := v.(type) {
	case *ast.CallExpr:
		s.typ(name, v.Fun)
	case *ast.CompositeLit:
		s.typ(name, v.Type)
	case *ast.UnaryExpr:
		s.value(name, v.X)
	case *ast.FuncLit:
		s.typ(name, v.Type)
	case *ast.SelectorExpr:
		if !strings.HasPrefix(v.Sel.Name, "Err") {
			s.selector(name, v)
		}
	}
}

func (s *surface) selector(name string, n *ast.SelectorExpr) {
	dir, ours := own(selected(s.names, n))
	if ours && slices.Contains(strings.Split(dir, "/"), "internal") {
		s.found = append(s.found, s.file.violation(n, "surface", "%s shows %s of %s: nobody outside can name it", name, n.Sel.Name, dir))
	}
}

func exportedReceiver(list *ast.FieldList) bool {
	exported := false
	ast.Inspect(list.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && !exported {
			exported = token.IsExported(id.Name)
			return false
		}
		return true
	})
	return exported
}
