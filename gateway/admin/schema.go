package admin

import (
	"encoding"
	"encoding/json"
	"path"
	"reflect"
	"strings"
	"time"
)

// object is a JSON object.
type object = map[string]any

// schemas makes the JSON Schemas of Go types as encoding/json writes them (JSON
// Schema 2020-12, which is that of OpenAPI 3.1). Structs with a name are kept once,
// and referred to.
type schemas struct{ named map[string]object }

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// enumeration is a type of strings of which there are few.
type enumeration interface{ values() []string }

// of returns the schema of a type.
func (s schemas) of(t reflect.Type) object {
	if e, ok := reflect.Zero(t).Interface().(enumeration); ok && t.Kind() == reflect.String {
		return object{"type": "string", "enum": e.values()}
	}
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t == rawType:
		return object{}
	case t.Implements(textType):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return object{"anyOf": []any{s.of(t.Elem()), object{"type": "null"}}}
	case reflect.Struct:
		return s.ofStruct(t)
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64, reflect.Float32:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	}
	panic("admin: no schema for " + t.String()) // a bug of ours, found when the server is made
}

// body returns the schema of a request, whose members are all known.
func (s schemas) body(t reflect.Type) object {
	schema := s.of(t)
	if t.Kind() == reflect.Struct {
		s.named[schemaName(t)]["additionalProperties"] = false
	}
	return schema
}

// ofStruct keeps the schema of a struct that has a name, and refers to it.
func (s schemas) ofStruct(t reflect.Type) object {
	if t.Name() == "" {
		return s.members(t)
	}
	name := schemaName(t)
	if s.named[name] == nil {
		s.named[name] = object{} // for a type that holds itself
		s.named[name] = s.members(t)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// schemaName is the name of a type of ours, and that of another package's with the
// package's before it.
func schemaName(t reflect.Type) string {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if t.PkgPath() == reflect.TypeFor[Role]().PkgPath() {
		return name
	}
	pkg := path.Base(t.PkgPath())
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}

// members is the schema of a struct by its fields.
func (s schemas) members(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || !f.IsExported() || name == "-" {
			continue // the fields of an embedded struct come by themselves
		}
		if name == "" {
			name = f.Name
		}
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		of := f.Type
		if optional && of.Kind() == reflect.Pointer {
			of = of.Elem() // nil is left out
		}
		schema := s.of(of)
		if words := f.Tag.Get("enum"); words != "" {
			schema["enum"] = strings.Fields(words)
		}
		if doc := f.Tag.Get("doc"); doc != "" {
			schema["description"] = doc
		}
		properties[name] = schema
		if !optional {
			required = append(required, name)
		}
	}
	return object{"type": "object", "properties": properties, "required": required}
}
