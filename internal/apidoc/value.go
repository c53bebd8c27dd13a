package apidoc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is a part of the description: an object, an array, or a scalar. A nil value is
// one that is not there. Its exported methods are for the page's template.
type value struct {
	members []member // of an object, in the order in which they are written
	items   []*value // of an array
	scalar  any      // of neither
	root    *value   // of the whole description
}

type member struct {
	Name  string
	Value *value
}

// parse reads a description. Aliases and merged mappings of YAML are put in full.
func parse(text []byte) (*value, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("read the description of the API: %w", err)
	}
	root := &value{}
	if err := root.read(document.Content[0], root); err != nil {
		return nil, fmt.Errorf("read the description of the API: %w", err)
	}
	return root, nil
}

func (v *value) read(node *yaml.Node, root *value) error {
	v.root = root
	switch node.Kind {
	case yaml.AliasNode:
		return v.read(node.Alias, root)
	case yaml.SequenceNode:
		v.items = make([]*value, len(node.Content))
		for i, item := range node.Content {
			v.items[i] = &value{}
			if err := v.items[i].read(item, root); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
		return v.readObject(node, root)
	}
	return node.Decode(&v.scalar)
}

func (v *value) readObject(node *yaml.Node, root *value) error {
	v.members = []member{}
	for i := 0; i < len(node.Content); i += 2 {
		read := &value{}
		if err := read.read(node.Content[i+1], root); err != nil {
			return err
		}
		if name := node.Content[i].Value; name != "<<" {
			v.set(name, read)
			continue
		}
		for _, merged := range read.members {
			if v.member(merged.Name) == nil {
				v.set(merged.Name, merged.Value)
			}
		}
	}
	return nil
}

func (v *value) set(name string, to *value) {
	for i := range v.members {
		if v.members[i].Name == name {
			v.members[i].Value = to
			return
		}
	}
	v.members = append(v.members, member{name, to})
}

func (v *value) member(name string) *value {
	if v != nil {
		for _, m := range v.members {
			if m.Name == name {
				return m.Value
			}
		}
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (v *value) MarshalJSON() ([]byte, error) {
	switch {
	case v.items != nil:
		return json.Marshal(v.items)
	case v.members == nil:
		return json.Marshal(v.scalar)
	}
	text := []byte{'{'}
	for i, m := range v.members {
		if i > 0 {
			text = append(text, ',')
		}
		name, err := json.Marshal(m.Name)
		if err != nil {
			return nil, err
		}
		content, err := json.Marshal(m.Value)
		if err != nil {
			return nil, err
		}
		text = append(append(append(text, name...), ':'), content...)
	}
	return append(text, '}'), nil
}

// Get returns a member of an object, or of what the object refers to.
func (v *value) Get(name string) *value {
	if target := v.target(); target != nil {
		return target.Get(name)
	}
	return v.member(name)
}

// target is what a reference refers to; nil if v is none.
func (v *value) target() *value {
	path, isReference := strings.CutPrefix(v.member("$ref").String(), "#/")
	if !isReference {
		return nil
	}
	target := v.root
	for part := range strings.SplitSeq(path, "/") {
		target = target.member(part)
	}
	return target
}

// Component is the name of what a reference refers to; empty if v is none.
func (v *value) Component() string {
	path := v.member("$ref").String()
	return path[strings.LastIndexByte(path, '/')+1:]
}

// Members returns those of an object.
func (v *value) Members() []member {
	if v == nil {
		return nil
	}
	return v.members
}

// Items returns those of an array, or a scalar as the only one.
func (v *value) Items() []*value {
	switch {
	case v == nil:
		return nil
	case v.items == nil && v.members == nil:
		return []*value{v}
	}
	return v.items
}

// Has reports whether an array has a text, or an object a member of that name.
func (v *value) Has(text string) bool {
	for _, item := range v.Items() {
		if item.String() == text {
			return true
		}
	}
	return v.member(text) != nil
}

// String returns a scalar as it is written, and nothing of what is not there.
func (v *value) String() string {
	if v == nil || v.scalar == nil {
		return ""
	}
	return fmt.Sprint(v.scalar)
}

// Example returns a text as it is, and everything else as JSON.
func (v *value) Example() (string, error) {
	if text, ok := v.scalar.(string); ok {
		return text, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var indented bytes.Buffer
	err = json.Indent(&indented, text, "", "  ")
	return indented.String(), err
}
