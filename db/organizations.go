package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// Organization is one tenant. Its id is every other row's org_id.
type Organization struct {
	bun.BaseModel `bun:"organizations,alias:o"`

	OrgID     ID `bun:",pk"`
	Name      string
	CreatedAt time.Time `bun:",nullzero,default:now()"`
}

// CreateOrganization makes an empty organization.
func CreateOrganization(ctx context.Context, idb bun.IDB, name string) (Organization, error) {
	o := Organization{OrgID: NewID(), Name: name}
	_, err := idb.NewInsert().Model(&o).Returning("*").Exec(ctx)
	return o, err
}

// OrganizationNamed finds an organization by name, ErrNotFound without one.
func OrganizationNamed(ctx context.Context, idb bun.IDB, name string) (Organization, error) {
	var o Organization
	err := idb.NewSelect().Model(&o).Where("name = ?", name).OrderExpr("org_id").Limit(1).Scan(ctx)
	return o, found(err)
}

// OrganizationExists tells whether there is an organization of this id.
func OrganizationExists(ctx context.Context, idb bun.IDB, org ID) (there bool, err error) {
	err = idb.NewRaw("SELECT EXISTS (SELECT FROM organizations WHERE org_id = ?)", org).Scan(ctx, &there)
	return there, err
}

// Organizations are all of them. Only start-up and the sweeper look across tenants.
func Organizations(ctx context.Context, idb bun.IDB) ([]Organization, error) {
	var all []Organization
	err := idb.NewSelect().Model(&all).OrderExpr("org_id").Scan(ctx)
	return all, err
}
