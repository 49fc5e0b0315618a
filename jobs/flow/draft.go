package flow

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"tieline/db"
)

// NewFlow is a flow that somebody makes: of a document, or as a copy of another.
type NewFlow struct {
	Document json.RawMessage
	CopyOf   db.ID
	Name     string // replaces the document's; empty: as it is
}

// CreateFlow makes a flow of the organization's own, as a draft. What is wrong with the draft does not matter before it is
// published.
func (e *Engine) CreateFlow(ctx context.Context, tx db.Tx, org db.ID, in NewFlow) (db.Flow, error) {
	doc, copied, err := source(ctx, tx, org, in)
	if err != nil {
		return db.Flow{}, err
	}
	fields, bad := object(doc)
	if bad != nil {
		return db.Flow{}, bad
	}
	if name := strings.TrimSpace(in.Name); name != "" {
		fields["name"] = name
	}
	f := db.Flow{OrgID: org, ID: db.NewID(), Kind: "CUSTOM", DraftRevision: 1}
	if given, _ := fields["key"].(string); given != "" && !copied {
		f.Key = given
		if taken, err := db.KeyTaken(ctx, tx, org, given); err != nil {
			return f, err
		} else if taken {
			return f, problem(CodeTaken, fmt.Sprintf("Another flow has the key %q. Leave the key out, or choose another one.", given), "document", "key")
		}
	} else if f.Key, err = freeKey(ctx, tx, org, fields); err != nil {
		return f, err
	}
	fields["key"] = f.Key
	if f.Draft, err = json.Marshal(fields); err != nil {
		return f, err
	}
	called(&f, fields)
	return f, db.AddFlow(ctx, tx, &f)
}

// source is the document that a new flow begins with.
func source(ctx context.Context, tx db.Tx, org db.ID, in NewFlow) (doc json.RawMessage, copied bool, err error) {
	switch {
	case (len(in.Document) > 0) == (in.CopyOf != db.ID{}):
		return nil, false, problem(CodeRequired, "Give either a document or, as copyOf, a flow to begin with.", "document")
	case len(in.Document) > 0:
		return in.Document, false, nil
	}
	f, err := db.GetFlow(ctx, tx, org, in.CopyOf)
	if errors.Is(err, db.ErrNotFound) {
		return nil, true, problem(CodeNotFound, "There is no such flow.", "copyOf")
	}
	if err != nil {
		return nil, true, err
	}
	v, err := db.NewestVersion(ctx, tx, org, f.ID)
	if errors.Is(err, db.ErrNotFound) {
		return f.Draft, true, nil
	}
	return v.Definition, true, err
}

// object reads a document far enough to keep it.
func object(doc json.RawMessage) (map[string]any, error) {
	if len(doc) > maxDefinition {
		return nil, problem(CodeInvalid, fmt.Sprintf("The document is larger than %d bytes.", maxDefinition), "document")
	}
	v, err := exactly(db.WithoutNUL(doc))
	fields, ok := v.(map[string]any)
	if err != nil || !ok {
		return nil, problem(CodeInvalid, "A flow's document is an object: {\"name\": …, \"trigger\": {…}, \"steps\": […]}.", "document")
	}
	if key, given := fields["key"].(string); given && key != "" && !flowKey.MatchString(key) {
		return nil, problem(CodeInvalid, fmt.Sprintf("%.40q is no key. A key is lower-case letters, digits, _ and dots, such as custom.customers_in, up to 100 of them.", key), "document", "key")
	}
	return fields, nil
}

var flowKey = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$`)

// freeKey makes a key of the flow's name that no other flow has.
func freeKey(ctx context.Context, tx db.Tx, org db.ID, fields map[string]any) (string, error) {
	name, _ := fields["name"].(string)
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
		if b.Len() == 60 {
			break
		}
	}
	base := "custom." + cmp.Or(strings.Trim(b.String(), "_"), "flow")
	for n := 1; ; n++ {
		key := base
		if n > 1 {
			key = fmt.Sprintf("%s_%d", base, n)
		}
		if taken, err := db.KeyTaken(ctx, tx, org, key); err != nil || !taken {
			return key, err
		}
	}
}

// UpdateFlow replaces a flow's draft, if it is still the one that was read.
func (e *Engine) UpdateFlow(ctx context.Context, tx db.Tx, org, id db.ID, revision int64, doc json.RawMessage) (db.Flow, error) {
	f, err := lockOwn(ctx, tx, org, id)
	if err != nil {
		return f, err
	}
	if err := atRevision(f, revision); err != nil {
		return f, err
	}
	fields, err := object(doc)
	if err != nil {
		return f, err
	}
	if key, _ := fields["key"].(string); key != "" && key != f.Key {
		return f, problem(CodeInvalid, fmt.Sprintf("The key of a flow never changes: it is %q. Leave it out, or make another flow with createFlow.", f.Key), "document", "key")
	}
	fields["key"] = f.Key
	if f.Draft, err = json.Marshal(fields); err != nil {
		return f, err
	}
	f.DraftRevision++
	if _, err := db.NewestVersion(ctx, tx, org, id); errors.Is(err, db.ErrNotFound) { // what is published says what it is called
		called(&f, fields)
	} else if err != nil {
		return f, err
	}
	return f, db.SaveFlow(ctx, tx, &f)
}

// lockOwn takes a flow that may be changed.
func lockOwn(ctx context.Context, tx db.Tx, org, id db.ID) (db.Flow, error) {
	f, err := db.LockFlow(ctx, tx, org, id)
	if err == nil && f.Kind != "CUSTOM" {
		err = problem(CodeState, "This flow came with Tieline and changes with it. Make a copy of your own with createFlow(copyOf), and change that.", "id")
	}
	return f, err
}

func atRevision(f db.Flow, revision int64) error {
	if f.DraftRevision == revision {
		return nil
	}
	return problem(CodeState, fmt.Sprintf("Somebody else changed the draft meanwhile: it is at revision %d, not %d. Read it again and repeat what you meant.", f.DraftRevision, revision), "revision")
}

// Publication says what is to be published: the draft as it was read, or an old version once more.
type Publication struct {
	Revision int64 // of the draft; zero when Version is given
	Version  int   // an old one's number
}

// PublishFlow makes the next version of a flow, which its links follow. Those that cannot, because it needs connections or
// parameters that they do not have, stay with the version that they run now.
func (e *Engine) PublishFlow(ctx context.Context, tx db.Tx, org, id db.ID, in Publication) (db.Flow, error) {
	f, err := lockOwn(ctx, tx, org, id)
	if err != nil {
		return f, err
	}
	doc := f.Draft
	switch {
	case (in.Version != 0) == (in.Revision != 0):
		return f, problem(CodeRequired, "Give either the revision of the draft that you have read, or the number of an old version to publish again.", "revision")
	case in.Version != 0:
		v, err := db.VersionNumber(ctx, tx, org, id, in.Version)
		if errors.Is(err, db.ErrNotFound) {
			return f, problem(CodeNotFound, fmt.Sprintf("The flow has no version %d.", in.Version), "version")
		}
		if err != nil {
			return f, err
		}
		doc = v.Definition
	default:
		if err := atRevision(f, in.Revision); err != nil {
			return f, err
		}
	}
	p, issues := prepare(doc, e.Apps)
	if bad := issues.problems("document"); len(bad) > 0 {
		return f, bad
	}
	newest, err := db.NewestVersion(ctx, tx, org, id)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return f, err
	}
	hash := sha256.Sum256(doc)
	if err == nil && slices.Equal(newest.Hash, hash[:]) {
		return f, nil // it is the newest already
	}
	if err == nil {
		if err := e.leaveBehind(ctx, tx, f, p, newest.ID); err != nil {
			return f, err
		}
	}
	f.Name, f.Description, f.Direction = p.Name, p.Description, p.direction()
	if err := db.AddVersion(ctx, tx, &db.FlowVersion{OrgID: org, ID: db.NewID(), FlowID: id, Definition: doc, Hash: hash[:]}); err != nil {
		return f, err
	}
	return f, db.SaveFlow(ctx, tx, &f)
}

// leaveBehind pins the links that cannot follow to a new version to the one that they run.
func (e *Engine) leaveBehind(ctx context.Context, tx db.Tx, f db.Flow, p *plan, now db.ID) error {
	links, conns, err := followers(ctx, tx, f.OrgID, f.ID)
	if err != nil {
		return err
	}
	for _, l := range links {
		if why, err := p.cannotBind(l, conns); err != nil {
			return err
		} else if len(why) > 0 {
			if err := db.PinLink(ctx, tx, f.OrgID, l.ID, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// followers are the links that follow to a flow's newest version, with all of their connections.
func followers(ctx context.Context, idb bun.IDB, org, flow db.ID) ([]db.BoundLink, map[db.ID]db.Connection, error) {
	links, err := db.LinksOf(ctx, idb, org, flow)
	if err != nil {
		return nil, nil, err
	}
	links = slices.DeleteFunc(links, func(l db.BoundLink) bool { return l.PinnedVersionID != db.ID{} })
	if len(links) == 0 {
		return nil, nil, nil
	}
	var ids []db.ID
	for _, l := range links {
		ids = slices.AppendSeq(ids, maps.Values(chosen(l)))
	}
	conns, err := db.ConnectionsOf(ctx, idb, org, ids)
	return links, conns, err
}

// chosen are the connections of a link, by step, and the trigger's.
func chosen(l db.BoundLink) map[string]db.ID {
	by := map[string]db.ID{TriggerSlot: l.TriggerConnectionID}
	maps.Copy(by, l.Connections)
	return by
}

// cannotBind says why a link cannot run the flow.
func (p *plan) cannotBind(l db.BoundLink, conns map[db.ID]db.Connection) (Problems, error) {
	var bad Problems
	if l.Trigger != p.Trigger.Key {
		bad = append(bad, problem(CodeInvalid, fmt.Sprintf("It listens to %s, and this version to %s.", l.Trigger, p.Trigger.Key), "connections", TriggerSlot)...)
	}
	for _, x := range p.checkConnections(chosen(l), conns) {
		if x.Code != CodeUnknownField { // a step that is gone needs none
			bad = append(bad, x)
		}
	}
	var given map[string]any
	if err := json.Unmarshal(l.Params, &given); err != nil {
		return nil, err
	}
	return append(bad, p.checkParams(given)...), nil
}

// DeleteFlow removes a flow that no link uses any more. Its runs and versions stay readable.
func (e *Engine) DeleteFlow(ctx context.Context, tx db.Tx, org, id db.ID) (db.Flow, error) {
	f, err := lockOwn(ctx, tx, org, id)
	if err != nil {
		return f, err
	}
	links, err := db.LinksOf(ctx, tx, org, id)
	if err != nil {
		return f, err
	}
	if len(links) > 0 {
		var names []string
		for _, l := range links {
			names = append(names, fmt.Sprintf("%q", l.Name))
		}
		return f, problem(CodeInUse, fmt.Sprintf("Flow links bind it to connections: %s. Delete them first, with deleteFlowLink.", strings.Join(names, ", ")), "id")
	}
	return f, db.DropFlow(ctx, tx, org, id)
}

// called takes over what a document calls its flow.
func called(f *db.Flow, fields map[string]any) {
	text := func(key, or string) string {
		s, _ := fields[key].(string)
		return cmp.Or(strings.TrimSpace(s), or)
	}
	f.Name, f.Description, f.Direction = text("name", "Untitled flow"), text("description", ""), "INBOUND"
	if trigger, _ := fields["trigger"].(map[string]any); trigger["app"] == "togai" {
		f.Direction = "OUTBOUND"
	}
}
