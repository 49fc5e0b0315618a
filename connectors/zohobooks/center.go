package zohobooks

import (
	"net/url"
	"strings"

	"tieline/connectors"
)

// center is one of Zoho's data centres. Clients, codes, tokens and organizations of one mean nothing in another.
type center struct{ key, name, api, accounts string }

// centers are all there are; no other address is ever called. https://www.zoho.com/books/api/v3/introduction/#multiple-data-centers
var centers = []center{
	{"us", "United States", "https://www.zohoapis.com", "https://accounts.zoho.com"},
	{"eu", "Europe", "https://www.zohoapis.eu", "https://accounts.zoho.eu"},
	{"in", "India", "https://www.zohoapis.in", "https://accounts.zoho.in"},
	{"au", "Australia", "https://www.zohoapis.com.au", "https://accounts.zoho.com.au"},
	{"jp", "Japan", "https://www.zohoapis.jp", "https://accounts.zoho.jp"},
	{"ca", "Canada", "https://www.zohoapis.ca", "https://accounts.zohocloud.ca"},
	{"cn", "China", "https://www.zohoapis.com.cn", "https://accounts.zoho.com.cn"},
	{"sa", "Saudi Arabia", "https://www.zohoapis.sa", "https://accounts.zoho.sa"},
}

// centerOf is that of the form; without one it is where most are.
func centerOf(c connectors.Credentials) center {
	for _, x := range centers {
		if x.key == c[dataCenter] {
			return x
		}
	}
	return centers[0]
}

// centerAt finds the centre whose API or accounts server an address is of.
func centerAt(address string) (center, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" {
		return center{}, false
	}
	for _, x := range centers {
		if host := strings.ToLower(u.Host); "https://"+host == x.api || "https://"+host == x.accounts {
			return x, true
		}
	}
	return center{}, false
}
