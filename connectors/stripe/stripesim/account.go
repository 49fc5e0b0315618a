package stripesim

func account(s *Sim) {
	s.router.handle("GET /v1/account", route{params: params{"expand": list(text)}, run: func(c *call) (any, error) {
		id := c.book.account.ID
		return object{
			"id": id, "object": "account", "type": "standard", "country": "US", "default_currency": "usd", "email": "owner@example.com",
			"business_profile": object{"name": "Simulated " + id, "url": nil}, "charges_enabled": true, "payouts_enabled": true, "details_submitted": true,
			"metadata": object{}, "settings": object{
				"dashboard": object{"display_name": "Simulated " + id, "timezone": "Etc/UTC"}, "branding": object{"icon": nil, "logo": nil, "primary_color": nil, "secondary_color": nil},
				"card_payments": object{"statement_descriptor_prefix": nil, "statement_descriptor_prefix_kana": nil, "statement_descriptor_prefix_kanji": nil},
				"payments":      object{"statement_descriptor": nil, "statement_descriptor_kana": nil, "statement_descriptor_kanji": nil, "statement_descriptor_prefix_kana": nil, "statement_descriptor_prefix_kanji": nil},
			},
		}, nil
	}})
}
