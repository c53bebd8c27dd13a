package apidoc

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"
)

// render makes the page of a description.
func render(description *value) ([]byte, error) {
	page, err := template.New("docs.html").Funcs(template.FuncMap{
		"prose": prose, "upper": strings.ToUpper, "methods": methods, "types": types,
	}).ParseFS(assets, "assets/docs.html")
	if err != nil {
		return nil, fmt.Errorf("read the page's template: %w", err)
	}
	var text bytes.Buffer
	if err := page.Execute(&text, description); err != nil {
		return nil, fmt.Errorf("make the page: %w", err)
	}
	return text.Bytes(), nil
}

// prose makes paragraphs of a description, of whose CommonMark it knows paragraphs and
// code.
func prose(v *value) template.HTML {
	var html strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(v.String()), "\n\n") {
		if paragraph == "" {
			continue
		}
		html.WriteString("<p>")
		for i, part := range strings.Split(paragraph, "`") {
			part = template.HTMLEscapeString(part)
			if i%2 == 1 {
				part = "<code>" + part + "</code>"
			}
			html.WriteString(part)
		}
		html.WriteString("</p>")
	}
	return template.HTML(html.String()) //nolint:gosec // it is escaped above
}

// operation is a method of a path.
type operation struct {
	Path, Method string
	*value
}

// methods returns the operations of a tag in their order.
func methods(description, tag *value) (found []operation) {
	for _, path := range description.Get("paths").Members() {
		for _, method := range path.Value.Members() {
			if method.Value.Get("tags").Has(tag.String()) {
				found = append(found, operation{path.Name, method.Name, method.Value})
			}
		}
	}
	return found
}

// types says in words what a schema allows, but for the properties of objects.
func types(schema *value) string {
	var words []string
	for _, t := range schema.Get("type").Items() {
		words = append(words, t.String())
	}
	text := strings.Join(words, " or ")
	if item := schema.Get("items"); item != nil && item.Component() == "" {
		if of := types(item); of != "" {
			text += " of " + of
		}
	}
	var limits []string
	if c := schema.Get("const"); c != nil {
		limits = append(limits, "always "+fmt.Sprintf("%q", c))
	}
	if list := schema.Get("enum").Items(); len(list) > 0 {
		words = nil
		for _, e := range list {
			words = append(words, e.String())
		}
		limits = append(limits, "one of "+strings.Join(words, ", "))
	}
	for _, limit := range [][2]string{
		{"format", ""}, {"minimum", "from "}, {"maximum", "to "}, {"minLength", "at least characters: "},
		{"maxLength", "at most characters: "}, {"maxItems", "at most "}, {"default", "default "},
	} {
		if v := schema.Get(limit[0]); v != nil {
			limits = append(limits, limit[1]+v.String())
		}
	}
	if text != "" && len(limits) > 0 {
		text += ", "
	}
	return text + strings.Join(limits, ", ")
}
