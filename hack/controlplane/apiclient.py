"""Just enough of an API client to wait for readiness: `requests` and kubectl would cost a second each poll."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from controlplane.certificates import Authority, KeyPair


class ApiClient:
    """GETs against one API server with a client certificate."""

    def __init__(self, url: str, authority: Authority, identity: KeyPair) -> None:
        self._address = urlsplit(url).netloc
        self.tls = ssl.create_default_context(cafile=str(authority.certificate))
        self.tls.load_cert_chain(str(identity.certificate), str(identity.key))

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 when there is no answer at all."""
        connection = http.client.HTTPSConnection(self._address, context=self.tls, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def ok(self, path: str) -> bool:
        """Whether a GET answers 200."""
        return self.get(path)[0] == http.HTTPStatus.OK

    def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list, none when there is no answer."""
        status, body = self.get(path)
        return list(json.loads(body)["items"]) if status == http.HTTPStatus.OK else []
