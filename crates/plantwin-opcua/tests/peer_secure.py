"""OPC UA under protection, by an implementation that has nothing to do with plantwin.

Usage: peer_secure.py keys FOLDER
       peer_secure.py server PORT FOLDER POLICY...
       peer_secure.py client URL FOLDER

`keys` makes the certificates `server`, `user` and `other` (.der, with .pem as their keys). `server`
offers the policies named as in asyncua and admits the user op with the password secret, and the
owner of user.der; it prints "ready". `client` looks at a played device, one line for each attempt.
"""

import asyncio
import os
import sys
from pathlib import Path

from asyncua import Client, Server, ua
from asyncua.crypto import security_policies as policies
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.server.user_managers import User, UserRole
from cryptography.x509.oid import ExtendedKeyUsageOID

URI = "urn:peer"


async def keys(folder):
    use = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    for name in ("server", "user", "other"):
        key = folder / f"{name}.pem"
        await setup_self_signed_certificate(
            key, folder / f"{name}.der", URI, "localhost", use, {"commonName": name}
        )
        os.chmod(key, 0o600)
    print("ready", flush=True)


class Users:
    def __init__(self, owner):
        self.owner = owner

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if username is not None:
            return User(role=UserRole.User) if (username, password) == ("op", "secret") else None
        return User(role=UserRole.User) if certificate == self.owner else None


async def serve(port, folder, names):
    server = Server(user_manager=Users((folder / "user.der").read_bytes()))
    await server.init()
    await server.set_application_uri(URI)
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([getattr(ua.SecurityPolicyType, name) for name in names])
    server.set_identity_tokens([ua.UserNameIdentityToken, ua.X509IdentityToken])
    await server.load_certificate(str(folder / "server.der"))
    await server.load_private_key(str(folder / "server.pem"))
    ns = await server.register_namespace(URI)
    rig = await server.nodes.objects.add_folder(ns, "rig")
    level = await rig.add_variable(ua.NodeId("rig.level", ns), "level", 0.0, ua.VariantType.Double)
    valve = await rig.add_variable(ua.NodeId("rig.valve", ns), "valve", 1.0, ua.VariantType.Double)
    await valve.set_writable()
    async with server:
        print("ready", flush=True)
        value, seen = 0.0, 1.0
        while True:
            value += 0.5
            await level.write_value(value, ua.VariantType.Double)
            now = await valve.read_value()
            if now != seen:
                seen = now
                print(f"written {now}", flush=True)
            await asyncio.sleep(0.02)


async def attempt(what, url, folder, policy, mode, user):
    client = Client(url, timeout=20)
    client.application_uri = URI
    try:
        if policy is not None:
            await client.set_security(
                policy,
                str(folder / "other.der"),
                str(folder / "other.pem"),
                server_certificate=str(folder / "played.der"),
                mode=mode,
            )
        name, secret = user
        if secret == "certificate":
            await client.load_client_certificate(str(folder / f"{name}.der"))
            await client.load_private_key(str(folder / f"{name}.pem"))
        elif name:
            client.set_user(name)
            client.set_password(secret)
        async with client:
            ns = await client.get_namespace_index("urn:plantwin:device")
            value = await client.get_node(ua.NodeId("alpha.level", ns)).read_value()
            print(f"{what}: {value}", flush=True)
    except ua.UaStatusCodeError as error:
        print(f"{what}: {ua.StatusCode(error.code).name}", flush=True)
    except (ua.UaError, OSError, asyncio.TimeoutError) as error:
        print(f"{what}: {type(error).__name__}", flush=True)


async def look(url, folder):
    encrypt = ua.MessageSecurityMode.SignAndEncrypt
    sign = ua.MessageSecurityMode.Sign
    op = ("op", "secret")
    good = policies.SecurityPolicyBasic256Sha256
    pss = policies.SecurityPolicyAes256Sha256RsaPss
    aes = policies.SecurityPolicyAes128Sha256RsaOaep
    await attempt("basic256sha256", url, folder, good, encrypt, op)
    await attempt("aes256pss", url, folder, pss, encrypt, op)
    await attempt("aes128oaep", url, folder, aes, encrypt, op)
    await attempt("wrong password", url, folder, good, encrypt, ("op", "guess"))
    await attempt("anonymous", url, folder, good, encrypt, ("", ""))
    await attempt("sign only", url, folder, good, sign, op)
    await attempt("no security", url, folder, None, None, op)
    old = policies.SecurityPolicyBasic128Rsa15
    await attempt("basic128rsa15", url, folder, old, encrypt, op)
    await attempt("basic256", url, folder, policies.SecurityPolicyBasic256, encrypt, op)


async def main():
    what = sys.argv[1]
    if what == "keys":
        await keys(Path(sys.argv[2]))
    elif what == "server":
        await serve(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        await look(sys.argv[2], Path(sys.argv[3]))


asyncio.run(main())
