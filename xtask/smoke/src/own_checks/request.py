"""Sends a request to the app of its container: port, method, path and, where it has one, a JSON
body. Prints the answer as JSON."""

import http.client
import json
import sys

#: As the gate waits.
SECONDS = 10
LONGEST_BODY = 1 << 20


def main() -> int:
    port, method, path, *body = sys.argv[1:]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=SECONDS)
    headers = {"Content-Type": "application/json"} if body else {}
    text = body[0].encode() if body else None
    try:
        connection.request(method, path, text, headers)
        reply = connection.getresponse()
        answer = {
            "status": reply.status,
            "location": reply.getheader("Location"),
            "body": reply.read(LONGEST_BODY).decode(errors="replace"),
        }
    except (OSError, http.client.HTTPException) as error:
        print(f"no whole answer: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


sys.exit(main())
