"""Of whom a server asks who they are, as its settings say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from settings import Settings, is_loopback
from tenancy.principals import LOCAL_ADMINISTRATOR, LOCAL_READER, Principal
from tenancy.scopes import Need, Without
from web.own_names import OwnNames


@dataclass(frozen=True)
class Rules:
    """Who somebody is who gives no credential.

    Attributes:
        everyone: who everybody is, with or without a credential; only where nothing is asked.
        here: who somebody is that calls this machine by a name of its own.
        says: what a 401 tells them to send.
        tells_tenants_apart: whether our own keys and tokens are taken, and limits counted.
    """

    everyone: Principal | None
    here: Principal | None
    own_names: OwnNames
    says: str
    tells_tenants_apart: bool

    def without_credential(self, host: str | None) -> Principal | None:
        """Who somebody is that calls the server `host` and says nothing of himself.

        A page in a browser here that came by a name of its own to this address (DNS rebinding) is nobody.
        """
        if self.here is not None and (host is None or self.own_names.includes_host(host)):
            return self.here
        return None

    def asks_for(self, need: Need) -> bool:
        """Whether an endpoint with this need asks for a credential, of some callers at least."""
        if isinstance(need, Without) or self.everyone is not None:
            return False
        return self.here is None or need not in self.here.scopes


def rules_of(settings: Settings, host: str, own_names: Collection[str] = ()) -> Rules:
    """The rules of a server that listens on `host`, and is called by `own_names` besides."""
    names = OwnNames([host, *own_names])
    if settings.is_multi_tenant:
        says = "Authorization: Bearer <a key pyl_…, or a token>"
        return Rules(None, None, names, says, tells_tenants_apart=True)
    says = "Authorization: Bearer <PYLON_API_KEY>"
    if settings.pylon_api_key is None:
        return Rules(LOCAL_ADMINISTRATOR, None, names, says, tells_tenants_apart=False)
    here = LOCAL_READER if is_loopback(host) else None
    return Rules(None, here, names, says, tells_tenants_apart=False)
