// Renders a template as Helm's engine would: {"template": TEXT, "data": VALUES} on standard input.
package main

import (
	"encoding/json"
	"os"
	"text/template"
)

func main() {
	var input struct {
		Template string
		Data     map[string]any
	}
	if err := json.NewDecoder(os.Stdin).Decode(&input); err != nil {
		panic(err)
	}
	t := template.Must(template.New("t").Option("missingkey=error").Parse(input.Template))
	if err := t.Execute(os.Stdout, input.Data); err != nil {
		panic(err)
	}
}
