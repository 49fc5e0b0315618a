package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

func (r *Resolvers) connections() list[db.Connection, model.AppInstance] {
	return list[db.Connection, model.AppInstance]{"connections", func(c *db.Connection) db.ID { return c.ID }, r.apps.Connection}
}

// connection is a connection, deleted or not: history leads to those, too.
func (r *Resolvers) connection(ctx context.Context, id db.ID) (*model.AppInstance, error) {
	return one(ctx, r.load(ctx).connections, id, r.apps.Connection)
}

// liveConnection is a connection that was not deleted.
func (r *Resolvers) liveConnection(ctx context.Context, id db.ID) (*model.AppInstance, error) {
	c, err := r.connection(ctx, id)
	if err != nil || c == nil || c.DeletedAt != nil {
		return nil, err
	}
	return c, nil
}

func (r *Resolvers) vendorAccount(ctx context.Context, id db.ID) (*model.VendorAccount, error) {
	return one(ctx, r.load(ctx).accounts, id, sure(r.apps.VendorAccount))
}

func (r queryResolver) Connections(ctx context.Context, filter *model.ConnectionFilter, first *int32, after *string, last *int32, before *string) (*model.AppInstanceConnection, error) {
	in := given(filter)
	f := db.ConnectionFilter{App: given(in.App), State: string(given(in.State))}
	return r.connections().page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Connection, error) {
		if in.App != nil && f.App == "" {
			return nil, nil // no app has no key
		}
		return db.ConnectionsPage(ctx, r.DB, organization(ctx), f, w)
	})
}

func (r queryResolver) Connection(ctx context.Context, id string) (*model.AppInstance, error) {
	return r.liveConnection(ctx, model.ConnectionID.Find(id))
}

func (r connectionResolver) Mode(ctx context.Context, c *model.AppInstance) (model.Mode, error) {
	v, err := r.vendorAccount(ctx, c.Row.VendorAccountID)
	if err != nil || v == nil {
		return "", err
	}
	return v.Mode, nil
}

func (r connectionResolver) VendorAccount(ctx context.Context, c *model.AppInstance) (*model.VendorAccount, error) {
	return r.vendorAccount(ctx, c.Row.VendorAccountID)
}

func (r connectionResolver) Webhook(ctx context.Context, c *model.AppInstance) (*model.Webhook, error) {
	url, path, err := r.webhookURL(ctx, c.Row)
	hook := r.apps.Webhook(c.Row, url)
	if hook == nil || err != nil {
		return nil, err
	}
	state, why := r.engine.WebhookStanding(c.Row)
	hook.State, hook.Path, hook.Error = model.WebhookState(state), orNil(path), orNil(why)
	return hook, nil
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// webhookURL is where the vendor calls, and the path of that. The URL is empty when nobody told our own address; both are
// when the connection is gone, and for those who may not change connections: whoever knows it can send events of vendors
// that sign none.
func (r *Resolvers) webhookURL(ctx context.Context, c db.Connection) (url, path string, err error) {
	viewer, _ := auth.FromContext(ctx)
	if !c.DeletedAt.IsZero() || !viewer.May(auth.Write) {
		return "", "", nil
	}
	if path, err = r.engine.WebhookPath(c); err == nil && r.engine.PublicURL != "" {
		url = r.engine.PublicURL + path
	}
	return url, path, err
}

func (r connectionResolver) FlowLinks(ctx context.Context, c *model.AppInstance, first *int32, after *string, last *int32, before *string) (*model.FlowLinkConnection, error) {
	return flowLinks.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.FlowLink, error) {
		return r.load(ctx).linksUsing.Load(ctx, paging[db.ID]{c.Row.ID, w})
	})
}

func (r connectionResolver) Events(ctx context.Context, c *model.AppInstance, first *int32, after *string, last *int32, before *string) (*model.EventConnection, error) {
	return events.page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Event, error) {
		return r.load(ctx).eventsThrough.Load(ctx, paging[db.ID]{c.Row.ID, w})
	})
}

func (r mutationResolver) CreateConnection(ctx context.Context, in model.CreateConnectionInput) (*model.CreateConnectionPayload, error) {
	c, problems, err := made(ctx, r.liveConnection)(r.call(ctx, model.ConnectionID, "", func(ctx context.Context, org, _ db.ID, commit flow.Commit) error {
		form, err := formOf(in.Credentials)
		if err == nil {
			_, err = r.engine.Connect(ctx, org, flow.ConnectionInput{App: in.App, Name: &in.Name, Credentials: form, WebhookSecret: in.WebhookSecret}, commit)
		}
		return err
	}))
	return &model.CreateConnectionPayload{Connection: c, UserErrors: problems}, err
}

func (r mutationResolver) UpdateConnection(ctx context.Context, in model.UpdateConnectionInput) (*model.UpdateConnectionPayload, error) {
	c, problems, err := made(ctx, r.liveConnection)(r.call(ctx, model.ConnectionID, in.ID, func(ctx context.Context, org, id db.ID, commit flow.Commit) error {
		change, err := changeOf(in)
		if err == nil {
			_, err = r.engine.UpdateConnection(ctx, org, id, change, commit)
		}
		return err
	}))
	return &model.UpdateConnectionPayload{Connection: c, UserErrors: problems}, err
}

func (r mutationResolver) TestConnection(ctx context.Context, in model.TestConnectionInput) (*model.TestConnectionPayload, error) {
	c, problems, err := made(ctx, r.liveConnection)(r.call(ctx, model.ConnectionID, in.ID, func(ctx context.Context, org, id db.ID, commit flow.Commit) error {
		_, err := r.engine.TestConnection(ctx, org, id, commit)
		return err
	}))
	return &model.TestConnectionPayload{Connection: c, UserErrors: problems}, err
}

func (r mutationResolver) DeleteConnection(ctx context.Context, in model.DeleteConnectionInput) (*model.DeleteConnectionPayload, error) {
	id, problems, err := made(ctx, deleted(model.ConnectionID))(r.call(ctx, model.ConnectionID, in.ID, func(ctx context.Context, org, id db.ID, commit flow.Commit) error {
		_, err := r.engine.DeleteConnection(ctx, org, id, commit)
		return err
	}))
	return &model.DeleteConnectionPayload{DeletedID: id, UserErrors: problems}, err
}

// changeOf is an update in the engine's terms: what is left out is nil, what is null is empty.
func changeOf(in model.UpdateConnectionInput) (flow.ConnectionInput, error) {
	var out flow.ConnectionInput
	if name, set := in.Name.ValueOK(); set {
		out.Name = new(given(name))
	}
	if secret, set := in.WebhookSecret.ValueOK(); set {
		out.WebhookSecret = new(given(secret))
	}
	out.RotateSecret = given(in.RotateWebhookSecret)
	credentials, set := in.Credentials.ValueOK()
	if !set {
		return out, nil
	}
	var err error
	out.Credentials, err = formOf(credentials)
	return out, err
}

// formOf reads a filled-in form: a text for each field, null for an empty one.
func formOf(raw json.RawMessage) (map[string]string, error) {
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, flow.Problems{{Field: []string{"credentials"}, Code: flow.CodeInvalid, Message: `Credentials are an object with a text for each field of the form, such as {"api_key": "…"}.`}}
	}
	form, bad := make(map[string]string, len(fields)), flow.Problems{}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch v := fields[key].(type) {
		case string:
			form[key] = v
		case nil:
			form[key] = ""
		default:
			bad = append(bad, flow.Problem{Field: []string{"credentials", key}, Code: flow.CodeInvalid, Message: fmt.Sprintf("The value of %q must be a text.", key)})
		}
	}
	if len(bad) > 0 {
		return nil, bad
	}
	return form, nil
}
