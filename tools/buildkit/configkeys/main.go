// Prints every key that buildkitd's configuration file of the pinned version knows, one a line, sorted. Parts of a key
// are separated by spaces, as keys themselves have dots; * stands for any name, [] for each element of a list.
package main

import (
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"github.com/moby/buildkit/cmd/buildkitd/config"
)

var text = reflect.TypeFor[encoding.TextUnmarshaler]()

func main() {
	var keys []string
	walk(reflect.TypeFor[config.Config](), nil, &keys)
	sort.Strings(keys)
	fmt.Println(strings.Join(keys, "\n"))
}

func walk(t reflect.Type, path []string, keys *[]string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Implements(text) || reflect.PointerTo(t).Implements(text):
		leaf(path, keys)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
			switch {
			case name == "-":
			case name == "" && field.Anonymous:
				walk(field.Type, path, keys)
			case name == "":
				walk(field.Type, append(path[:len(path):len(path)], field.Name), keys)
			default:
				walk(field.Type, append(path[:len(path):len(path)], name), keys)
			}
		}
	case t.Kind() == reflect.Map:
		walk(t.Elem(), append(path[:len(path):len(path)], "*"), keys)
	case t.Kind() == reflect.Slice:
		walk(t.Elem(), append(path[:len(path):len(path)], "[]"), keys)
	default:
		leaf(path, keys)
	}
}

func leaf(path []string, keys *[]string) {
	*keys = append(*keys, strings.Join(path, " "))
}
