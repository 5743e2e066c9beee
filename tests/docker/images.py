"""images.py - builds the images of docker/Dockerfile where none can be pulled: on a base made by debootstrap, and on a stand-in
for NVIDIA's image that is made of this machine's CUDA toolkit."""
import os
import re
import shutil
import subprocess
import tempfile

from daemon import ROOT, inspect, run

HERE = os.path.dirname(os.path.abspath(__file__))
DOCKERFILE = os.path.join(ROOT, "docker", "Dockerfile")
CUDA = os.environ.get("CUDA", "/usr/local/cuda")
COMPILERS = "gcc cc c++ g++ clang cpp as ld make"


def base_tag(argument):
    with open(DOCKERFILE) as f:
        return re.search(r"^ARG %s=(\S+)$" % argument, f.read(), re.M).group(1)


def have(tag):
    """Is it there from a run before, whose daemon's data was kept?"""
    return subprocess.run(["docker", "image", "inspect", tag], capture_output=True).returncode == 0


def import_base():
    """The file stays in build/docker, since it takes minutes to make."""
    if have(base_tag("BASE")):
        return
    file = os.path.join(ROOT, "build", "docker", "base.tar")
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        run(os.path.join(HERE, "base.sh"), file)
    run("docker", "import", "--change", 'CMD ["bash"]', file, base_tag("BASE"))


def library(name):
    """A library of the toolkit, all names of it."""
    for place in (os.path.join(CUDA, "lib64"), "/usr/lib/x86_64-linux-gnu"):
        found = [os.path.join(place, f) for f in os.listdir(place) if f.startswith(name + ".so")] if os.path.isdir(place) else []
        if found:
            return found
    return []


def import_cuda():
    """Laid out as NVIDIA's: links and all. False where there is no toolkit."""
    header = next((h for h in (CUDA + "/include/nccl.h", "/usr/include/nccl.h") if os.path.exists(h)), None)
    if not (header and library("libnccl") and library("libcudart")):
        return False
    if have(base_tag("CUDA_IMAGE")):
        return True
    with tempfile.TemporaryDirectory(dir=os.path.join(ROOT, "build")) as place:
        target = "usr/local/cuda-13.0/targets/x86_64-linux"
        for made in (target + "/lib", "usr/include", "usr/lib/x86_64-linux-gnu"):
            os.makedirs(os.path.join(place, made))
        shutil.copytree(CUDA + "/include", os.path.join(place, target, "include"), ignore=shutil.ignore_patterns("nccl*.h"))
        shutil.copy(header, os.path.join(place, "usr/include"))
        for name, where in (("libcudart", target + "/lib"), ("libnccl", "usr/lib/x86_64-linux-gnu")):
            for file in library(name):
                shutil.copy(file, os.path.join(place, where), follow_symlinks=False)
        for link, to in (("usr/local/cuda-13.0/include", "targets/x86_64-linux/include"),
                         ("usr/local/cuda-13.0/lib64", "targets/x86_64-linux/lib"), ("usr/local/cuda", "cuda-13.0")):
            os.symlink(to, os.path.join(place, link))
        with open(os.path.join(place, "Dockerfile"), "w") as f:
            f.write("FROM %s\nCOPY usr /usr/\n" % base_tag("BASE"))
        run("docker", "build", "-t", base_tag("CUDA_IMAGE"), place)
    return True


def build(target):
    """With the proxies that the caller goes through, if any."""
    proxies = [word for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "no_proxy")
               for word in ("--build-arg", "%s=%s" % (name, os.environ[name]))]
    run("docker", "build", "--network", "host", *proxies, "-f", DOCKERFILE, "--target", target, "-t", "tutti-" + target, ROOT)


def in_image(image, script):
    return run("docker", "run", "--rm", "--network", "none", "--read-only", "--entrypoint", "sh", image, "-c", script)


def check(target, program):
    """What an image promises of itself."""
    image = "tutti-" + target
    about = inspect(image)
    assert about["Config"]["User"] == "10001:10001" and about["Config"]["Entrypoint"] == [program], about["Config"]
    assert about["Config"]["Labels"]["org.opencontainers.image.title"] == program, about["Config"]["Labels"]
    assert program in in_image(image, program + " --version")
    found = in_image(image, "for c in %s; do command -v $c; done; true" % COMPILERS)
    assert not found.strip(), "%s has %s" % (image, found)
    return about["Size"], about["Size"] - inspect(base_tag("BASE"))["Size"]


def build_all():
    import_base()
    targets = ["server", "worker-cpu"]
    if import_cuda():
        targets.append("worker-cuda")
    else:
        print("NOTE worker-cuda was not built: no CUDA toolkit with NCCL in %s" % CUDA)
    for target in targets:
        build(target)
        size, more = check(target, "tutti-server" if target == "server" else "tutti-worker")
        print("image tutti-%s: %.1f MB, of which the base is %.1f MB" % (target, size / 1e6, (size - more) / 1e6), flush=True)
    if "worker-cuda" in targets:
        said = in_image("tutti-worker-cuda", "ldd /usr/local/bin/tutti-worker; tutti-worker --print-gpus")
        assert "libnccl.so.2 => /usr/local/lib/" in said and "not found" not in said, said
        print("tutti-worker-cuda was built on a stand-in for %s, made of the toolkit in %s" % (base_tag("CUDA_IMAGE"), CUDA))
    assert subprocess.run(["docker", "run", "--rm", "tutti-server", "--health"], capture_output=True).returncode == 1
