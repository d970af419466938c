"""The directives of route documents. They say how an operation looks as a route, and are gone before it runs."""

DIRECTIVES = '''
"Makes a route of an operation."
directive @rest(
  method: RestMethod!
  "With the parameters in braces; `{name*}` takes the rest of the path, slashes and all."
  path: String!
  "Of the answer when nothing is refused."
  status: Int = 200
  "A subscription as a stream."
  stream: RestStream
  "The media type of a text answer; the body must be a string."
  produces: String
  "The answer is for people to look at: the body, as the system's page of this name shows it."
  page: String
  """
  The answer is an object with this `message`, variables in braces (`{id}`, `{input.name}`) filled in. The fields of the
  value marked @body, if there is one, are added to it.
  """
  message: String
  "What the message is called."
  messageName: String = "message"
  "The body is the root fields by name, even where there is only one."
  whole: Boolean = false
  "A GET that does something: browsers are sent here, by a provider say. It has no HEAD, and nobody keeps its answers."
  navigation: Boolean = false
  "Whether the system's envelope goes around the body."
  envelope: Boolean = true
  "Larger request bodies are refused; the system's bound otherwise. 0 leaves it to who takes a RAW body."
  bodyBytesMax: Int
  "What the route is listed under; the name of its file otherwise."
  tags: [String!]
  "Why, and what to use instead."
  deprecated: String
) on QUERY | MUTATION | SUBSCRIPTION

"""
Where a variable's value comes from. Without it: from the path if that has a parameter of its name, else from the
query string (GET, DELETE), else from the top-level field of its name in the body. Where it stands more than once, the
places are looked into in that order, and the first that has a value counts.
"""
directive @param(
  "Where it would come from without the directive, if this is left out."
  in: RestPlace
  """
  As it is called there; the variable's own name otherwise. Without a name, BODY is the whole body, without the fields
  that other variables take from it. `*` in the query takes all parameters nothing else takes; as a FILE, the file of
  any name.
  """
  name: String
  "Older names, taken where the first is absent."
  aliases: [String!]
  "The part of an input object that is placed, dots between the steps; the rest of the object stays where it was."
  field: String
  "Present means true, whatever the value."
  flag: Boolean = false
  "How a list is written in one text, beside repeating it."
  list: RestList
  "The case of a text before it is read: that of an enum's values, say."
  case: RestCase
  "Other texts for values, as a JSON object: `{\\"1\\": true}`."
  spellings: String
  "What is taken for a value that cannot be read, as JSON."
  invalid: String
  "Numbers beyond these are taken for them."
  min: Int
  max: Int
) repeatable on VARIABLE_DEFINITION

"A variable, or a part of one, that the server fills and the caller never sees."
directive @fill(
  with: RestFill!
  "The part of an input object that is filled, dots between the steps."
  field: String
) repeatable on VARIABLE_DEFINITION

"The value that is the body. Without it: the only root field, or all of them by name."
directive @body on FIELD

"The status of an answer of this type."
directive @status(code: Int!) on INLINE_FRAGMENT | FRAGMENT_SPREAD

"The value goes into a header, and leaves the body. An `ETag` is put in quotes."
directive @header(name: String!) on FIELD

"The value goes into a cookie, and leaves the body; null takes the cookie away."
directive @cookie(name: String!, maxAge: Int, path: String = "/") on FIELD

"The value is the stream's event id, and leaves the body."
directive @eventId on FIELD

"The value is the stream's event name, and leaves the body."
directive @event on FIELD

"The object's own fields stand in its place; one that stands there by itself goes before."
directive @spread on FIELD

"Another spelling of the value."
directive @render(as: RestTransform!) repeatable on FIELD

enum RestMethod { GET POST PUT PATCH DELETE }
enum RestStream { SSE }
enum RestPlace { PATH QUERY HEADER COOKIE BODY FORM FILE RAW }
enum RestList {
  "`a,b`"
  COMMA
  "`a b`"
  SPACE
  "`a|b`"
  PIPE
  "`[\\"a\\",\\"b\\"]`; lists of anything but texts are taken in this form anyway."
  JSON
}
enum RestCase { LOWER UPPER }
enum RestFill {
  NOW
  NEW_ID
  REQUEST_ID
  CLIENT_IP
  USER_AGENT
  BASE_URL
  USER_ID
  "All headers as an object, by name in lower case, but those that say who asks; of several of a name, all with commas."
  HEADERS
}
enum RestTransform {
  LOWER
  UPPER
  "A moment with `+00:00` instead of `Z`."
  TIME_OFFSET
  "A moment as PostgreSQL prints it: a blank for the T, `+00`."
  TIME_POSTGRES
  "A moment as whole Unix seconds."
  TIME_UNIX
  "A null leaves its object."
  OMIT_NULL
  "A list of objects becomes an object: each one's `key` to its `value`."
  ENTRIES
  "A list of objects becomes the list of their `key`s."
  KEYS
}
'''

NAMES = frozenset(
    {"rest", "param", "fill", "body", "status", "header", "cookie", "eventId", "event", "spread", "render"}
)
