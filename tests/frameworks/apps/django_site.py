"""A whole Django project in one module: admin with its database, views, both interfaces."""

import os

import django
from django.conf import settings

from tests.frameworks.apps import said

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests alone",
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": os.path.join(os.environ["FRAMEWORKS_GATES"], "django.sqlite"),
            }
        },
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        STATIC_URL="static/",
        LOGGING={
            "version": 1,
            "handlers": {"stderr": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["stderr"]},
        },
    )
    django.setup()

from django.contrib import admin  # noqa: E402
from django.http import (  # noqa: E402
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path, reverse  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402


def hello(request):
    return JsonResponse(
        {
            "url": request.build_absolute_uri(),
            "path": reverse("hello"),
            "absolute": request.build_absolute_uri(reverse("hello")),
            "client": request.META["REMOTE_ADDR"],
            "q": request.GET.get("q", ""),
        }
    )


def named(request, name):
    return JsonResponse({"name": name, "path": reverse("named", args=[name])})


def cookie(request):
    answer = JsonResponse(request.COOKIES)
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2", httponly=True)
    return answer


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return JsonResponse(said.upload(file.name, file.read(), request.POST["field"]))


@csrf_exempt
def raw(request):
    data = b"".join(iter(lambda: request.read(65536), b""))
    return JsonResponse(said.raw(data))


def stream(request):
    made = said.astream if hasattr(request, "scope") else said.stream
    pieces = made(request.GET.get("gate", ""))
    headers = {"X-Accel-Buffering": "no"}
    return StreamingHttpResponse(pieces, content_type="text/plain", headers=headers)


def away(request):
    return HttpResponseRedirect(reverse("hello"))


def fail(request):
    raise ValueError("a failure")


async def slowly(request):
    return JsonResponse({"async": True})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("hello", hello, name="hello"),
    path("name/<str:name>", named, name="named"),
    path("cookie", cookie),
    path("upload", upload),
    path("raw", raw),
    path("stream", stream),
    path("away", away),
    path("fail", fail),
    path("slowly", slowly),
]


def make_database():
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    User.objects.create_superuser("admin", "admin@example.test", "secret")
