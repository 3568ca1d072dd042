package policy

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

// The interpreter takes memory in three kinds of instruction without asking
// anybody: joining strings, storing into a table, and making a table or a function.
// Compiled as written, a script of five lines takes a gigabyte before any clock is
// looked at. So a script is changed before it is compiled: these become calls of
// functions of ours, which count and then do the same. The functions are locals
// around the script, under names that no script can write.
const (
	hiddenConcat = "\x00concat"
	hiddenSet    = "\x00set"
	hiddenTrack  = "\x00track"
)

const (
	// maxSource is the longest script in bytes.
	maxSource = 256 << 10
	// maxNesting is how deep its statements and expressions may be nested. The
	// compiler descends into them on the stack of the process.
	maxNesting = 180
)

// Problem is what is wrong with a script, or looks wrong.
type Problem struct {
	Script  string
	File    string
	Line    int // from 1; 0: the script as a whole
	Column  int // from 1; 0: the line as a whole
	Message string
}

// Error returns the place and what is wrong.
func (p *Problem) Error() string {
	switch {
	case p.Line == 0:
		return p.File + ": " + p.Message
	case p.Column == 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// compile makes a bounded function of a script's text. The error is a *Problem
// without Script and File.
func compile(name, text string) (proto *lua.FunctionProto, err error) {
	// Text that the library does not expect must not end the process.
	defer func() {
		if r := recover(); r != nil {
			proto, err = nil, &Problem{Message: fmt.Sprintf("cannot be compiled: %.200s", fmt.Sprint(r))}
		}
	}()
	if len(text) > maxSource {
		return nil, &Problem{Message: fmt.Sprintf("is larger than %d bytes", maxSource)}
	}
	chunk, err := parse.Parse(strings.NewReader(text), name)
	if err != nil {
		return nil, syntaxProblem(err)
	}
	var b bounder
	chunk = b.block(chunk)
	if b.tooDeep != 0 {
		return nil, &Problem{Line: b.tooDeep, Message: fmt.Sprintf("nested deeper than %d", maxNesting)}
	}
	hidden := &ast.LocalAssignStmt{Names: []string{hiddenConcat, hiddenSet, hiddenTrack}, Exprs: []ast.Expr{&ast.Comma3Expr{}}}
	hidden.SetLine(1)
	hidden.Exprs[0].SetLine(1)
	proto, err = lua.Compile(append([]ast.Stmt{hidden}, chunk...), name)
	if err != nil {
		return nil, compileProblem(err)
	}
	return proto, nil
}

// syntaxProblem reads the place out of the parser's error.
func syntaxProblem(err error) *Problem {
	var bad *parse.Error
	if !errors.As(err, &bad) {
		return &Problem{Message: err.Error()}
	}
	p := &Problem{Line: bad.Pos.Line, Column: bad.Pos.Column, Message: bad.Message}
	if bad.Token != "" {
		p.Message += fmt.Sprintf(" near %.40q", bad.Token)
	}
	if p.Line < 1 { // the end of the text, as the lexer has it
		p.Line, p.Column, p.Message = 0, 0, bad.Message+" at the end of the file"
	}
	return p
}

func compileProblem(err error) *Problem {
	var bad *lua.CompileError
	if !errors.As(err, &bad) {
		return &Problem{Message: err.Error()}
	}
	return &Problem{Line: bad.Line, Message: bad.Message}
}

// bounder changes a syntax tree.
type bounder struct {
	depth   int
	tooDeep int // the line, 0 for none
	temps   int
}

// enter counts a level and says whether to go on.
func (b *bounder) enter(at ast.PositionHolder) bool {
	b.depth++
	if b.depth > maxNesting && b.tooDeep == 0 {
		b.tooDeep = max(1, at.Line())
	}
	return b.tooDeep == 0
}

func (b *bounder) leave() { b.depth-- }

func (b *bounder) block(stmts []ast.Stmt) []ast.Stmt {
	for i, s := range stmts {
		stmts[i] = b.stmt(s)
	}
	return stmts
}

func (b *bounder) stmt(s ast.Stmt) ast.Stmt {
	defer b.leave()
	if !b.enter(s) {
		return s
	}
	switch s := s.(type) {
	case *ast.AssignStmt:
		return b.assign(s)
	case *ast.LocalAssignStmt:
		b.exprs(s.Exprs)
	case *ast.FuncCallStmt:
		s.Expr = b.call(s.Expr.(*ast.FuncCallExpr))
	case *ast.DoBlockStmt:
		b.block(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = b.expr(s.Condition)
		b.block(s.Stmts)
	case *ast.RepeatStmt:
		s.Condition = b.expr(s.Condition)
		b.block(s.Stmts)
	case *ast.IfStmt:
		b.branches(s)
	case *ast.NumberForStmt:
		s.Init, s.Limit = b.expr(s.Init), b.expr(s.Limit)
		if s.Step != nil {
			s.Step = b.expr(s.Step)
		}
		b.block(s.Stmts)
	case *ast.GenericForStmt:
		b.exprs(s.Exprs)
		b.block(s.Stmts)
	case *ast.FuncDefStmt:
		// It stores under a name that stands in the source, which bounds it.
		b.block(s.Func.Stmts)
	case *ast.ReturnStmt:
		b.exprs(s.Exprs)
	}
	return s
}

// branches walks the elseifs of one if, each of which is in the else of the one
// before, without counting them as nested.
func (b *bounder) branches(s *ast.IfStmt) {
	for {
		s.Condition = b.expr(s.Condition)
		b.block(s.Then)
		if len(s.Else) == 1 {
			if next, ok := s.Else[0].(*ast.IfStmt); ok {
				s = next
				continue
			}
		}
		b.block(s.Else)
		return
	}
}

func (b *bounder) exprs(all []ast.Expr) {
	for i, e := range all {
		all[i] = b.expr(e)
	}
}

func (b *bounder) expr(e ast.Expr) ast.Expr {
	defer b.leave()
	if !b.enter(e) {
		return e
	}
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		e.Object, e.Key = b.expr(e.Object), b.expr(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			if f.Key != nil {
				f.Key = b.expr(f.Key)
			}
			f.Value = b.expr(f.Value)
		}
		return hiddenCall(hiddenTrack, e, e)
	case *ast.FuncCallExpr:
		return b.call(e)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = b.expr(e.Lhs), b.expr(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = b.expr(e.Lhs), b.expr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = b.expr(e.Lhs), b.expr(e.Rhs)
	case *ast.StringConcatOpExpr:
		return b.concat(e)
	case *ast.UnaryMinusOpExpr:
		e.Expr = b.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = b.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = b.expr(e.Expr)
	case *ast.FunctionExpr:
		b.block(e.Stmts)
		return hiddenCall(hiddenTrack, e, e)
	}
	return e
}

func (b *bounder) call(e *ast.FuncCallExpr) ast.Expr {
	if e.Func != nil {
		e.Func = b.expr(e.Func)
	}
	if e.Receiver != nil {
		e.Receiver = b.expr(e.Receiver)
	}
	b.exprs(e.Args)
	return e
}

// concat makes one call of a .. b .. c, which the parser nests to the right.
func (b *bounder) concat(e *ast.StringConcatOpExpr) ast.Expr {
	var args []ast.Expr
	var last ast.Expr = e
	for {
		c, ok := last.(*ast.StringConcatOpExpr)
		if !ok {
			break
		}
		args = append(args, one(b.expr(c.Lhs)))
		last = c.Rhs
	}
	return hiddenCall(hiddenConcat, e, append(args, one(b.expr(last)))...)
}

// one has a call give one value where a list would take all of them.
func one(e ast.Expr) ast.Expr {
	switch c := e.(type) {
	case *ast.FuncCallExpr:
		c.AdjustRet = true
	case *ast.Comma3Expr:
		c.AdjustRet = true
	}
	return e
}

// assign makes a call of each store into a table. Of several values all are worked
// out before the first is stored, as are the tables and keys that they go to.
func (b *bounder) assign(s *ast.AssignStmt) ast.Stmt {
	stores := false
	for i, e := range s.Lhs {
		if at, ok := e.(*ast.AttrGetExpr); ok {
			at.Object, at.Key = b.expr(at.Object), b.expr(at.Key)
			stores = true
		} else {
			s.Lhs[i] = b.expr(e)
		}
	}
	b.exprs(s.Rhs)
	if !stores {
		return s
	}
	if len(s.Lhs) == 1 && len(s.Rhs) == 1 {
		at := s.Lhs[0].(*ast.AttrGetExpr)
		return store(s, at.Object, at.Key, one(s.Rhs[0]))
	}
	return b.assignSeveral(s)
}

func (b *bounder) assignSeveral(s *ast.AssignStmt) ast.Stmt {
	var places, values ast.LocalAssignStmt
	var then []ast.Stmt
	temp := func(of *ast.LocalAssignStmt) ast.Expr {
		b.temps++
		name := fmt.Sprintf("\x00%d", b.temps)
		of.Names = append(of.Names, name)
		return ident(name, s)
	}
	for _, e := range s.Lhs {
		at, ok := e.(*ast.AttrGetExpr)
		if !ok {
			assign := &ast.AssignStmt{Lhs: []ast.Expr{e}, Rhs: []ast.Expr{temp(&values)}}
			place(assign, s)
			then = append(then, assign)
			continue
		}
		object, key := temp(&places), temp(&places)
		places.Exprs = append(places.Exprs, one(at.Object), one(at.Key))
		then = append(then, store(s, object, key, temp(&values)))
	}
	values.Exprs = s.Rhs
	place(&places, s)
	place(&values, s)
	block := &ast.DoBlockStmt{Stmts: append([]ast.Stmt{&places, &values}, then...)}
	place(block, s)
	return block
}

// store is the statement that stores a value.
func store(at ast.PositionHolder, object, key, value ast.Expr) ast.Stmt {
	s := &ast.FuncCallStmt{Expr: hiddenCall(hiddenSet, at, one(object), one(key), one(value))}
	place(s, at)
	return s
}

func hiddenCall(name string, at ast.PositionHolder, args ...ast.Expr) *ast.FuncCallExpr {
	c := &ast.FuncCallExpr{Func: ident(name, at), Args: args, AdjustRet: true}
	place(c, at)
	return c
}

func ident(name string, at ast.PositionHolder) *ast.IdentExpr {
	e := &ast.IdentExpr{Value: name}
	place(e, at)
	return e
}

// place gives a node the place of another one, for messages about it.
func place(n, at ast.PositionHolder) {
	n.SetLine(at.Line())
	n.SetLastLine(at.LastLine())
}
