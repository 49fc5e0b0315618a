package flow_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"tieline/jobs/flow"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// sound is a document that nothing is wrong with; the broken ones below differ from it in what is given in place of MARKS.
const sound = `{"name": "Sound", "trigger": {"app": "stripe", "key": "customer.created"TRIGGER}, "params": {"currency": {"type": "string", "default": ""}PARAMS},
	"steps": [
		{"key": "account", "app": "togai", "action": "customer.create", "input": {"id": "{{ trigger.customer_id }}", "name": "NAME", "email": "{{ trigger.email }}"INPUT}STEP},
		{"key": "note", "app": "stripe", "action": "customer.update", "input": {"customer_id": "{{ trigger.customer_id }}", "metadata": {"togai_account_id": "{{ steps.account.account_id }}"}}NOTE}MORE
	]TOP}`

// broken are documents that something is wrong with.
var broken = []struct {
	name string
	with []string // marks and what is there instead
	doc  string   // in place of sound
}{
	{name: "no JSON", doc: `{"name": `},
	{name: "a list", doc: `[]`},
	{name: "empty", doc: `{}`},
	{name: "field of the document", with: []string{"TOP", `, "stepps": []`}},
	{name: "field of a step", with: []string{"STEP", `, "wen": "true"`}},
	{name: "wrong kind of field", with: []string{"STEP", `, "retry": {"tries": "often"}`}},
	{name: "unknown app", doc: `{"name": "x", "trigger": {"app": "strip", "key": "customer.created"}, "steps": [{"key": "a", "app": "togi", "action": "customer.create"}]}`},
	{name: "unknown trigger and action", doc: `{"name": "x", "trigger": {"app": "stripe", "key": "customer.create"}, "steps": [{"key": "a", "app": "togai", "action": "customers.create"}]}`},
	{name: "same key twice", with: []string{"MORE", `, {"key": "note", "app": "togai", "action": "account.get", "input": {"account_id": "x"}}`}},
	{name: "key that cannot be written", with: []string{"MORE", `, {"key": "My step", "app": "togai", "action": "account.get", "input": {"account_id": "x"}}`}},
	{name: "field of the trigger", with: []string{"NAME", "{{ trigger.nmae }}"}},
	{name: "field of a step's output", with: []string{"NOTE", `, "when": "steps.account.acount_id != ''"`}},
	{name: "unknown step", with: []string{"NOTE", `, "when": "steps.acount.created"`}},
	{name: "later step", with: []string{"NAME", "{{ steps.note.name }}"}},
	{name: "itself", with: []string{"NOTE", `, "when": "steps.note.name == ''"`}},
	{name: "condition of text", with: []string{"TRIGGER", `, "when": "trigger.name"`}},
	{name: "condition that ends early", with: []string{"TRIGGER", `, "when": "trigger.name =="`}},
	{name: "braces left open", with: []string{"NAME", "Dear {{ trigger.name }"}},
	{name: "number for text", with: []string{"NAME", "{{ size(trigger.name) }}"}},
	{name: "object for text", with: []string{"NAME", "{{ trigger.address }}"}},
	{name: "unknown input", with: []string{"INPUT", `, "emial": "x", "address": {"street": "x"}`}},
	{name: "missing input", doc: `{"name": "x", "trigger": {"app": "stripe", "key": "customer.created"}, "steps": [{"key": "a", "app": "togai", "action": "customer.create", "input": {"name": null}}]}`},
	{name: "amount with a number", doc: `{"name": "x", "trigger": {"app": "togai", "key": "invoice.generated", "when": "trigger.open > 0.5"}, "steps": [
		{"key": "a", "app": "togai", "action": "payment.record", "input": {"invoice_id": "{{ trigger.invoice_id }}", "amount": "{{ trigger.open * 1.1 }}", "currency": "USD", "transaction_number": "1"}}]}`},
	{name: "item without forEach", with: []string{"NAME", "{{ item.name }}"}},
	{name: "forEach of what lists nothing", with: []string{"NOTE", `, "forEach": "account"`}},
	{name: "default that does not fit", with: []string{"PARAMS", `, "days": {"type": "integer", "default": "soon"}, "odd": {"type": "nothing"}`}},
	{name: "type of the other way", with: []string{"TOP", `, "type": "OUTBOUND"`}},
	{name: "nothing of Togai", doc: `{"name": "x", "trigger": {"app": "stripe", "key": "customer.created"}, "steps": [{"key": "a", "app": "stripe", "action": "customer.update", "input": {"customer_id": "{{ trigger.customer_id }}"}}]}`},
	{name: "pauses the wrong way round", with: []string{"STEP", `, "retry": {"pause": 60, "longest": 1}, "onError": "ignore"`}},
	{name: "function that is not there", with: []string{"NAME", "{{ coalesc(trigger.name, 'x') }} {{ upper(trigger.name) }}"}},
	{name: "record of no app of the flow", with: []string{"NOTE", `, "record": {"app": "zuora", "entity": "account", "id": "x"}`}},
	{name: "schedule where none is", with: []string{"TRIGGER", `, "schedule": {"cron": "* * * * *", "timeZone": "UTC"}`}},
}

func brokenDocument(i int) []byte {
	b := broken[i]
	if b.doc != "" {
		return []byte(b.doc)
	}
	with := slices.Concat(b.with, []string{"NAME", "{{ trigger.name }}", "TRIGGER", "", "PARAMS", "", "INPUT", "", "STEP", "", "NOTE", "", "MORE", "", "TOP", ""})
	return []byte(strings.NewReplacer(with...).Replace(sound))
}

// TestBrokenDocuments: what is said of documents that something is wrong with, all of it, in the order of the document.
func TestBrokenDocuments(t *testing.T) {
	t.Parallel()
	apps := allApps(t)
	var got strings.Builder
	for i, b := range broken {
		fmt.Fprintf(&got, "# %s\n", b.name)
		issues := flow.Examine(brokenDocument(i), apps)
		if len(issues) == 0 {
			t.Errorf("%s: nothing is said", b.name)
		}
		for _, x := range issues {
			severity := "error"
			if x.Warning {
				severity = "warning"
			}
			fmt.Fprintf(&got, "%s %s %s: %s", severity, x.Code, strings.Join(x.Path, "."), x)
			for _, more := range [][2]string{{"expected", x.Expected}, {"found", x.Found}, {"suggestion", x.Suggestion}} {
				if more[1] != "" {
					fmt.Fprintf(&got, " [%s %s]", more[0], more[1])
				}
			}
			fmt.Fprintln(&got)
		}
	}
	const file = "testdata/broken.golden"
	if *update {
		if os.Getenv("CI") != "" {
			t.Fatal("golden files are not rewritten in CI")
		}
		must(t, os.WriteFile(file, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if got.String() != string(want) {
		t.Errorf("another now; -update rewrites %s\n%s", file, got.String())
	}
}

// FuzzDocument: whatever the document is, it is checked without a panic, and what is said of it is said in words and at a place.
func FuzzDocument(f *testing.F) {
	names, err := fs.Glob(flow.Shipped, "shipped/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		doc, err := flow.Shipped.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	for i := range broken {
		f.Add(brokenDocument(i))
	}
	apps := allApps(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, x := range flow.Examine(doc, apps) {
			if x.Code == "" || x.Message == "" || x.Expression != "" && (x.Line < 1 || x.Column < 1) {
				t.Errorf("%+v", x)
			}
		}
	})
}

// FuzzImport: what Export writes of a document that was read is read as the same.
func FuzzImport(f *testing.F) {
	for _, text := range []string{"name: x\nsteps:\n  - {key: a, input: {b: 1, c: 'no', d: null, e: 1.50, f: \"{{ 'x' }}\"}}\n", `{"name": "x", "z": [1e3, "yes", "2026-01-01", true], "trigger": {"key": "k", "app": "a"}}`, "a: &x 1\nb: *x\n", "- 1", "? [a]\n: 1", "name: |\n  two\n  lines\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := flow.Import(text)
		if err != nil {
			return
		}
		for _, format := range []string{flow.JSON, flow.YAML} {
			file, err := flow.Export(doc, format)
			if err != nil {
				t.Fatalf("%s of %s: %v", format, doc, err)
			}
			again, err := flow.Import(file)
			if err != nil || string(again) != string(doc) {
				t.Errorf("%s of %s is read as %s, %v:\n%s", format, doc, again, err, file)
			}
			twice, err := flow.Export(again, format)
			if err != nil || twice != file {
				t.Errorf("%s written again is another: %v\n%s\n%s", format, err, file, twice)
			}
		}
	})
}

// TestShippedFlowsAsFiles: each is the same after it was a file of either kind.
func TestShippedFlowsAsFiles(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(flow.Shipped, "shipped/*.json")
	must(t, err)
	for _, name := range names {
		doc, err := flow.Shipped.ReadFile(name)
		must(t, err)
		for _, format := range []string{flow.JSON, flow.YAML} {
			file, err := flow.Export(doc, format)
			must(t, err)
			again, err := flow.Import(file)
			must(t, err)
			var a, b any
			must(t, json.Unmarshal(doc, &a))
			must(t, json.Unmarshal(again, &b))
			if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
				t.Errorf("%s as %s:\n%s\n%s", name, format, x, y)
			}
		}
	}
}
