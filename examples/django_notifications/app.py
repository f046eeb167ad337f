"""Notifications from a Django model's signal, for those who are logged in by Django's session."""

import os
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import django
from django.conf import settings

DATABASE = os.environ.get("DATABASE", "notifications.sqlite3")

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "for development only"),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
)
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402 - Django wants its settings first
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.db.models.signals import post_save  # noqa: E402
from django.dispatch import receiver  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

from shoal import ConnectionRefused, Server, Socket  # noqa: E402

io = Server(cors_origins=None)


class Order(models.Model):
    customer: Any = models.CharField(max_length=50)
    item: Any = models.CharField(max_length=50)

    class Meta:
        app_label = "shop"


# ---- Socket.IO


@io.use
async def authenticate(socket: Socket) -> None:
    cookie = SimpleCookie(socket.handshake.headers.get("cookie", "")).get("sessionid")
    customer = await SessionStore(cookie.value).aget("customer") if cookie else None
    if customer is None:
        raise ConnectionRefused("log in first")
    socket.data["customer"] = customer
    await socket.join(f"customer:{customer}")


@io.on("orders")
async def orders(socket: Socket) -> list[str]:
    """The ORM from a handler: its methods that begin with `a`, and async iteration."""
    mine = Order.objects.filter(customer=socket.data["customer"]).order_by("id")
    return [order.item async for order in mine]


@receiver(post_save, sender=Order)
def ordered(instance: Any, created: bool, **kwargs: Any) -> None:
    """A signal is called in the thread of whoever saved; `emit` may be called in any."""
    if created:
        io.to(f"customer:{instance.customer}").emit("ordered", instance.item)


# ---- Django


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Path(__file__).with_name("index.html").read_text())


def login(request: HttpRequest) -> JsonResponse:
    request.session["customer"] = request.GET["name"]  # in earnest: django.contrib.auth
    return JsonResponse({})


def order(request: HttpRequest) -> JsonResponse:
    Order.objects.create(customer=request.session["customer"], item=request.GET["item"])
    return JsonResponse({})


urlpatterns = [path("", page), path("login", login), path("order", order)]


def prepare() -> None:
    """What `manage.py migrate` does in a project that has migrations."""
    call_command("migrate", verbosity=0)
    if Order._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Order)


web = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Django answers no lifespan; this prepares its database there."""
    if scope["type"] != "lifespan":
        await web(scope, receive, send)
        return
    await receive()
    await sync_to_async(prepare)()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


app = io.asgi(application)
