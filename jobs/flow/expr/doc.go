package expr

// Function is a function that expressions have.
type Function struct {
	Name        string
	Signature   string // how it is written
	Description string
}

// documented are the functions that a flow needs. Those of CEL's standard library that are left out work, too.
var documented = []Function{
	{"coalesce", "coalesce(a, b, …)", "The first that is there and not empty; the last whatever it is."},
	{"mapped", "mapped(id, entity, app)", "The id in an app of the record that this id names in another; null when they are not linked."},
	{"now", "now()", "The time at which the run began."},
	{"fail", "fail(text)", "Ends the step with this sentence, for what cannot be brought over."},
	{"has", "has(a.b)", "Whether a field is there."},
	{"size", "size(x)", "How long a text, a list or a map is."},
	{"string", "string(x)", "A number, an amount or a time as text."},
	{"int", "int(x)", "A text or a number as a whole number."},
	{"double", "double(x)", "A text or a whole number as a number that need not be whole."},
	{"decimal", "decimal(x)", "An exact amount of a text or a whole number. Amounts take +, -, * and comparisons with each other and with whole numbers."},
	{"round", "amount.round(places)", "An amount to so many places, half to even."},
	{"dividedBy", "amount.dividedBy(x, places)", "An amount divided, to so many places."},
	{"minor", "minor(amount, currency)", "An amount in the smallest unit of its currency: 12.50 USD is 1250."},
	{"minorDecimal", "minorDecimal(amount, currency)", "The same for prices below the smallest unit: 0.0005 USD is 0.05."},
	{"major", "major(units, currency)", "An amount of so many smallest units: 1250 in USD is 12.50."},
	{"timestamp", "timestamp(text)", "A time, to compare or to add a duration to."},
	{"duration", "duration(text)", "A span of time: duration('24h')."},
	{"day", "day(time)", "The date of a time, in UTC: 2026-01-31."},
	{"map", "list.map(x, …)", "A list with something made of each item."},
	{"filter", "list.filter(x, …)", "The items for which a condition holds."},
	{"exists", "list.exists(x, …)", "Whether a condition holds for an item."},
	{"all", "list.all(x, …)", "Whether a condition holds for all items."},
	{"flatten", "list.flatten()", "A list of lists as one list."},
	{"distinct", "list.distinct()", "Each item once."},
	{"sort", "list.sort()", "The items in order."},
	{"join", "list.join(separator)", "A list of texts as one text."},
	{"split", "text.split(separator)", "A text as a list of texts."},
	{"replace", "text.replace(old, new)", "A text with something in place of something else."},
	{"substring", "text.substring(from, to)", "A part of a text."},
	{"lowerAscii", "text.lowerAscii()", "A text in lower case."},
	{"upperAscii", "text.upperAscii()", "A text in upper case."},
	{"trim", "text.trim()", "A text without space around it."},
	{"startsWith", "text.startsWith(text)", "Whether a text begins so."},
	{"endsWith", "text.endsWith(text)", "Whether a text ends so."},
	{"contains", "text.contains(text)", "Whether a text is in another."},
	{"matches", "text.matches(pattern)", "Whether a regular expression (RE2) is in a text."},
	{"format", "text.format(list)", "A text with values in place of %s, %d, %.2f."},
	{"math.greatest", "math.greatest(a, b)", "The greatest."},
	{"math.least", "math.least(a, b)", "The least."},
	{"math.round", "math.round(x)", "A number as the nearest whole one."},
	{"math.abs", "math.abs(x)", "A number without its sign."},
	{"base64.encode", "base64.encode(bytes)", "Base64 of bytes: base64.encode(bytes(text))."},
	{"base64.decode", "base64.decode(text)", "The bytes that base64 stands for."},
	{"encode64url", "encode64url(text)", "Base64 as addresses have it."},
	{"decode64url", "decode64url(text)", "What base64 in an address stands for."},
	{"encodeURL", "encodeURL(text)", "A text as a part of an address."},
}
