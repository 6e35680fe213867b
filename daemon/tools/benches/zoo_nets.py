"""The field's standard classifiers without any framework: numpy, onnx and onnxruntime.

    python3 zoo_nets.py OUT [NET...] [--forms f32,qdq-u8,qdq-s8,qop-u8]

writes OUT/NET.FORM/{model.onnx,model.toml}. Weights are random from fixed seeds, with the statistics of
a trained net: He initialisation; after each convolution the output of smooth random pictures is brought
to a channel's usual mean and deviation and folded into weights and bias, which is what a batch
normalisation leaves behind. The last layer is fitted (ridge) to pictures of known classes, so that
margins are those of a classifier and not of noise. Integer forms are onnxruntime.quantization's own:
s8 weights with a scale for each channel, MinMax over 8 pictures.
"""

import logging, os, shutil, sys, tempfile
import numpy as np, onnx, onnxruntime as ort
from onnx import helper as H, numpy_helper as NH, TensorProto as T

OPSET, IR = (17, 8)
IMAGENET = ("0..1", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def session(model, level=None, threads=1):
    o = ort.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = threads
    o.log_severity_level = 3
    if level is not None:
        o.graph_optimization_level = level
    return ort.InferenceSession(
        model if isinstance(model, (str, bytes)) else model.SerializeToString(),
        o,
        providers=["CPUExecutionProvider"],
    )


def pictures(n, h, w, c, seed, protos=40, proto_seed=11):
    """n smooth u8 pictures [n,h,w,c], each a noisy variant of a prototype, and of which one."""

    def fields(rng, n, amp):
        f = np.arange(7)
        cy = np.cos(np.pi * (np.arange(h)[:, None] + 0.5) / h * f)
        cx = np.cos(np.pi * (np.arange(w)[:, None] + 0.5) / w * f)
        r = rng.normal(0, 1, (n, 7, 7, c)) / (1 + f[:, None] + f)[None, :, :, None]
        return amp * np.einsum("hf,nfgc,wg->nhwc", cy, r, cx, optimize=True)

    rng = np.random.default_rng(seed)
    k = rng.integers(0, protos, n)
    p = fields(np.random.default_rng(proto_seed), protos, 60)[k] + fields(rng, n, 10)
    return (
        np.clip(
            p + 128 + rng.normal(0, 12, (n, 1, 1, 1)) + rng.normal(0, 8, p.shape), 0, 255
        ).astype(np.uint8),
        k,
    )


def tensor(pics, scale):
    """u8 [n,h,w,c] -> the input tensor [n,c,h,w] f32."""
    kind, mean, std = scale
    x = pics.astype(np.float32).transpose(0, 3, 1, 2)
    x = {"0..255": x, "0..1": x / 255, "-1..1": x / 127.5 - 1}[kind]
    if mean:
        x = (x - np.float32(mean)[None, :, None, None]) / np.float32(std)[None, :, None, None]
    return np.ascontiguousarray(x, np.float32)


class Val:

    def __init__(s, name, a):
        s.name, s.a = (name, a)

    @property
    def c(s):
        return s.a.shape[1]


class Net:
    """Builds the graph and runs it on a few pictures while it does so."""

    def __init__(s, hwc, classes, scale, seed, calib=12):
        s.hwc, s.classes, s.scale, s.rng = (hwc, classes, scale, np.random.default_rng(seed))
        s.nodes, s.inits, s.k, s.seed = ([], [], 0, seed)
        s.x = Val("input", tensor(pictures(calib, *hwc, seed=seed + 1)[0], s.scale))
        s.head = None

    def init(s, a):
        s.k += 1
        n = f"w{s.k}"
        s.inits.append(NH.from_array(np.ascontiguousarray(a), n))
        return n

    def op(s, kind, ins, consts=(), outs=1, **at):
        s.k += 1
        names = [f"{kind}_{s.k}" + (f"_{i}" if outs > 1 else "") for i in range(outs)]
        n0 = len(s.inits)
        node = H.make_node(
            kind,
            [v.name for v in ins] + [s.init(c) if c is not None else "" for c in consts],
            names,
            **at,
        )
        s.nodes.append(node)
        ys = s.eval([node], s.inits[n0:], ins, names)
        return Val(names[0], ys[0]) if outs == 1 else [Val(n, y) for n, y in zip(names, ys)]

    def eval(s, nodes, inits, ins, outs):
        seen = {v.name: v for v in ins}
        g = H.make_graph(
            nodes,
            "g",
            [H.make_tensor_value_info(n, T.FLOAT, v.a.shape) for n, v in seen.items()],
            [H.make_tensor_value_info(o, T.FLOAT, None) for o in outs],
            inits,
        )
        return session(
            H.make_model(g, opset_imports=[H.make_opsetid("", OPSET)], ir_version=IR)
        ).run(outs, {n: v.a for n, v in seen.items()})

    def conv(s, x, o, k=3, st=1, g=1, act="relu", pad=None, dil=1, gain=1):
        """gain < 1: the last convolution of a residual branch.

        Kernels are low-pass on the whole, as trained ones are: else depth makes a net chaotic.
        """
        p = dil * (k - 1) // 2
        pads = pad if pad is not None else [p] * 4
        i = x.c // g
        rnd = s.rng.normal
        w = (
            rnd(0 if i > 1 else 1, 1 if i > 1 else 0.3, (o, i, 1, 1)) + rnd(0, 0.5, (o, i, k, k))
        ).astype(np.float32) * np.float32(np.sqrt(2 / i) / k)
        at = dict(kernel_shape=[k, k], strides=[st, st], pads=pads, group=g, dilations=[dil, dil])
        y = s.eval(
            [H.make_node("Conv", [x.name, "w"], ["y"], **at)], [NH.from_array(w, "w")], [x], ["y"]
        )[0]
        m, d = (y.mean((0, 2, 3)), y.std((0, 2, 3)))
        d = np.maximum(d, 0.3 * d.mean() + 1e-06)
        if y.shape[2] == 1:
            m, d = (y.mean() + 0 * m, y.std() + 0 * d)
        t = gain * s.rng.uniform(0.5, 1.5, o) / d
        b = (rnd(0.3 if act else 0, 0.3, o) - m * t).astype(np.float32)
        v = s.op("Conv", [x], [w * t[:, None, None, None].astype(np.float32), b], **at)
        return s.act(v, act)

    def act(s, x, a):
        if a is None:
            return x
        if a == "relu":
            return s.op("Relu", [x])
        if a == "relu6":
            return s.op("Clip", [x], [np.float32(0), np.float32(6)])
        if a == "hswish":
            return s.op("HardSwish", [x])
        if a == "hsigmoid":
            return s.op("HardSigmoid", [x], alpha=1 / 6, beta=0.5)
        if a == "leaky":
            return s.op("LeakyRelu", [x], alpha=0.1)
        if a == "swish":
            return s.op("Mul", [x, s.op("Sigmoid", [x])])
        raise ValueError(a)

    def add(s, a, b):
        return s.op("Add", [a, b])

    def cat(s, *v):
        return s.op("Concat", v, axis=1)

    def pool(s, x, k=2, st=2, pad=0, kind="MaxPool", ceil=0):
        return s.op(
            kind, [x], kernel_shape=[k, k], strides=[st, st], pads=[pad] * 4, ceil_mode=ceil
        )

    def gap(s, x):
        return s.op("GlobalAveragePool", [x])

    def se(s, x, r, gate="hsigmoid"):
        return s.op("Mul", [x, s.conv(s.conv(s.gap(x), r, 1), x.c, 1, act=gate, gain=0.5)])

    def slice(s, x, a, b):
        return s.op("Slice", [x], [np.int64([a]), np.int64([b]), np.int64([1])])

    def shuffle(s, x, g=2):
        _, c, h, w = x.a.shape
        v = s.op("Reshape", [x], [np.int64([-1, g, c // g, h, w])])
        v = s.op("Transpose", [v], perm=[0, 2, 1, 3, 4])
        return s.op("Reshape", [v], [np.int64([-1, c, h, w])])

    def flat(s, x):
        return s.op("Flatten", [x], axis=1)

    def fc(s, x, o, act="relu"):
        w = s.rng.normal(0, np.sqrt(2 / x.a.shape[1]), (o, x.a.shape[1])).astype(np.float32)
        y = x.a @ w.T
        m, d = (y.mean(0), y.std(0))
        t = 1 / np.maximum(d, d.mean() + 1e-06)
        return s.act(
            s.op(
                "Gemm",
                [x],
                [
                    w * t[:, None].astype(np.float32),
                    (s.rng.normal(0, 0.3, o) - m * t).astype(np.float32),
                ],
                transB=1,
            ),
            act,
        )

    def fit(s, x):
        """Weights [classes, features] and bias that tell the prototypes apart, for features x."""
        protos, n = (min(s.classes, 40), min(s.classes, 40) * 4)
        pics, k = pictures(n, *s.hwc, seed=s.seed + 2, protos=protos)
        f, m = ([], s.model(x.name))
        se = session(m)
        for i in range(0, n, 4):
            y = se.run(None, {"input": tensor(pics[i : i + 4], s.scale)})[0]
            f.append(y.reshape(*y.shape[:2], -1).mean(2))
        f = np.concatenate(f).astype(np.float64)
        mu = f.mean(0)
        a = f - mu
        K = a @ a.T
        t = np.where(k[:, None] == np.arange(protos), 8.0, -1.0)
        W = (a.T @ np.linalg.solve(K + 0.1 * np.trace(K) / n * np.eye(n), t - t.mean(0))).T
        b = t.mean(0) - W @ mu
        if s.classes > protos:
            r = s.rng.normal(0, 0.1, (s.classes - protos, protos))
            W, b = (np.concatenate([W, r @ W]), np.concatenate([b, r @ b - 2]))
            q = s.rng.permutation(s.classes)
            W, b = (W[q], b[q])
        return (W.astype(np.float32), b.astype(np.float32))

    def top(s, x):
        """The last, fitted layer on pooled features [n,f]."""
        W, b = s.fit(x)
        v = s.op("Gemm", [x], [W, b], transB=1)
        s.head = v.name
        return v

    def topconv(s, x):
        """SqueezeNet's: 1x1 convolution, Relu, mean."""
        W, b = s.fit(x)
        v = s.flat(
            s.gap(
                s.act(
                    s.op(
                        "Conv",
                        [x],
                        [W[:, :, None, None], b],
                        kernel_shape=[1, 1],
                        strides=[1, 1],
                        pads=[0] * 4,
                    ),
                    "relu",
                )
            )
        )
        s.head = v.name
        return v

    def model(s, out=None):
        nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in s.nodes]
        name = out or "logits"
        if out is None:
            for n in nodes:
                n.input[:] = [name if i == s.head else i for i in n.input]
                n.output[:] = [name if o == s.head else o for o in n.output]
        h, w, c = s.hwc
        g = H.make_graph(
            nodes,
            "net",
            [H.make_tensor_value_info("input", T.FLOAT, ["N", c, h, w])],
            [H.make_tensor_value_info(name, T.FLOAT, ["N", s.classes] if out is None else None)],
            s.inits,
        )
        return H.make_model(
            g, opset_imports=[H.make_opsetid("", OPSET)], ir_version=IR, producer_name="nets.py"
        )


def basic(n, x, o, st):
    y = n.conv(n.conv(x, o, 3, st), o, act=None, gain=0.5)
    return n.act(n.add(y, x if st == 1 and x.c == o else n.conv(x, o, 1, st, act=None)), "relu")


def resnet8(n):
    x = n.conv(n.x, 16)
    for o, st in ((16, 1), (32, 2), (64, 2)):
        x = basic(n, x, o, st)
    n.top(n.flat(n.pool(x, 8, 8, kind="AveragePool")))


def resnet18(n):
    x = n.conv(n.x, 64) if n.hwc[0] < 100 else n.pool(n.conv(n.x, 64, 7, 2), 3, 2, 1)
    for o, st in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = basic(n, basic(n, x, o, st), o, 1)
    n.top(n.flat(n.gap(x)))


def inverted(n, x, o, k, st, t, act, se=0, same=False):
    h = t if t > 12 else x.c * t
    y = n.conv(x, h, 1, act=act) if h != x.c or t > 12 else x
    p = (k - 1) // 2
    y = n.conv(
        y, h, k, st, h, act, pad=[(k - 2) // 2, (k - 2) // 2, p, p] if same and st == 2 else None
    )
    if se:
        y = n.se(y, se)
    r = st == 1 and x.c == o
    y = n.conv(y, o, 1, act=None, gain=0.4 if r else 1)
    return n.add(x, y) if r else y


def mobilenetv2(n):
    x = n.conv(n.x, 32, 3, 2, act="relu6")
    for t, o, r, st in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(r):
            x = inverted(n, x, o, 3, st if i == 0 else 1, t, "relu6")
    n.top(n.flat(n.gap(n.conv(x, 1280, 1, act="relu6"))))


def efflite0(n):
    x = n.conv(n.x, 32, 3, 2, act="relu6", pad=[0, 0, 1, 1])
    for k, st, t, o, r in (
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    ):
        for i in range(r):
            x = inverted(n, x, o, k, st if i == 0 else 1, t, "relu6", same=True)
    n.top(n.flat(n.gap(n.conv(x, 1280, 1, act="relu6"))))


def mobilenetv3s(n):
    x = n.conv(n.x, 16, 3, 2, act="hswish")
    for k, e, o, se, a, st in (
        (3, 16, 16, 8, "relu", 2),
        (3, 72, 24, 0, "relu", 2),
        (3, 88, 24, 0, "relu", 1),
        (5, 96, 40, 24, "hswish", 2),
        (5, 240, 40, 64, "hswish", 1),
        (5, 240, 40, 64, "hswish", 1),
        (5, 120, 48, 32, "hswish", 1),
        (5, 144, 48, 40, "hswish", 1),
        (5, 288, 96, 72, "hswish", 2),
        (5, 576, 96, 144, "hswish", 1),
        (5, 576, 96, 144, "hswish", 1),
    ):
        x = inverted(n, x, o, k, st, 1 if e == x.c else e, a, se)
    n.top(n.fc(n.flat(n.gap(n.conv(x, 576, 1, act="hswish"))), 1024, "hswish"))


def squeezenet(n):

    def fire(x, q, e):
        x = n.conv(x, q, 1)
        return n.cat(n.conv(x, e, 1), n.conv(x, e))

    x = n.pool(n.conv(n.x, 64, 3, 2, pad=[0] * 4), 3, 2, ceil=1)
    for q, e, p in (
        (16, 64, 0),
        (16, 64, 1),
        (32, 128, 0),
        (32, 128, 1),
        (48, 192, 0),
        (48, 192, 0),
        (64, 256, 0),
        (64, 256, 0),
    ):
        x = fire(x, q, e)
        if p:
            x = n.pool(x, 3, 2, ceil=1)
    n.topconv(x)


def shufflenet(n):
    x = n.pool(n.conv(n.x, 24, 3, 2), 3, 2, 1)
    for o, r in ((116, 4), (232, 8), (464, 4)):
        b = o // 2
        x = n.shuffle(
            n.cat(
                n.conv(n.conv(x, x.c, 3, 2, x.c, None), b, 1),
                n.conv(n.conv(n.conv(x, b, 1), b, 3, 2, b, None), b, 1),
            )
        )
        for _ in range(r - 1):
            l, q = (n.slice(x, 0, b), n.slice(x, b, o))
            x = n.shuffle(n.cat(l, n.conv(n.conv(n.conv(q, b, 1), b, 3, 1, b, None), b, 1)))
    n.top(n.op("ReduceMean", [n.conv(x, 1024, 1)], axes=[2, 3], keepdims=0))


def small64(n):
    x = n.x
    for o in (16, 32, 64, 64):
        x = n.pool(n.conv(x, o))
    n.top(n.fc(n.flat(x), 64))


def plain(n):
    x = n.conv(n.x, 48)
    for o, st in ((48, 1), (96, 2), (192, 2), (192, 2)):
        x = n.conv(x, o, 3, st)
        for _ in range(3):
            x = n.conv(x, o)
    n.top(n.flat(n.gap(x)))


RAW, ONE, PM1 = (("0..255", (), ()), ("0..1", (), ()), ("-1..1", (), ()))
NETS = {
    "resnet8": (resnet8, (32, 32, 3), 10, RAW),
    "resnet18-32": (resnet18, (32, 32, 3), 10, RAW),
    "plain": (plain, (32, 32, 3), 10, RAW),
    "small64": (small64, (64, 64, 1), 2, ONE),
    "mobilenetv2-96": (mobilenetv2, (96, 96, 3), 10, PM1),
    "mobilenetv2-224": (mobilenetv2, (224, 224, 3), 1000, IMAGENET),
    "mobilenetv3s-224": (mobilenetv3s, (224, 224, 3), 1000, IMAGENET),
    "efflite0-224": (efflite0, (224, 224, 3), 1000, PM1),
    "squeezenet-224": (squeezenet, (224, 224, 3), 1000, IMAGENET),
    "shufflenet-224": (shufflenet, (224, 224, 3), 1000, IMAGENET),
    "resnet18-224": (resnet18, (224, 224, 3), 1000, IMAGENET),
}
FORMS = ("f32", "qdq-u8", "qdq-s8", "qop-u8")


def toml(name, spec):
    _, (h, w, c), classes, (scale, mean, std) = spec
    L = [f"{name}-{i}" for i in range(classes)]
    return (
        f"""[model]\nname = "{name}"\nversion = "1.0.0"\ncounter = 1\n[input]\nsize = [{h}, {w}]\ncolour = "{('rgb' if c == 3 else 'grey')}"\nscale = "{scale}"\n"""
        + (f"mean = {list(mean)}\nstd = {list(std)}\n" if mean else "")
        + '[resize]\nmode = "stretch"\nfilter = "bilinear"\nantialias = true\n[output]\nkind = "logits"\nlabels = ['
        + ", ".join((f'"{l}"' for l in L))
        + "]\n"
    )


def write(out, name, spec=None, forms=FORMS, seed=5):
    """Writes OUT/NAME.FORM/{model.onnx,model.toml} for each form; returns the Net."""
    from onnxruntime.quantization import (
        quantize_static,
        QuantFormat,
        QuantType,
        CalibrationDataReader,
        CalibrationMethod,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    spec = spec or NETS[name]
    build, hwc, classes, scale = spec
    n = Net(hwc, classes, scale, seed)
    tmp = tempfile.mkdtemp(prefix="nets-", dir=out)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        build(n)
        f32 = f"{tmp}/f32.onnx"
        onnx.save(n.model(), f32)
        x = tensor(pictures(8, *hwc, seed=seed + 3, protos=min(classes, 40))[0], scale)

        class R(CalibrationDataReader):

            def __init__(s):
                s.it = iter([{"input": x[i : i + 1]} for i in range(len(x))])

            def get_next(s):
                return next(s.it, None)

        if set(forms) - {"f32"}:
            quant_pre_process(f32, f"{tmp}/pre.onnx", skip_symbolic_shape=True)
        for f in forms:
            d = f"{out}/{name}.{f}"
            os.makedirs(d, exist_ok=True)
            if f == "f32":
                shutil.copy(f32, f"{d}/model.onnx")
            else:
                quantize_static(
                    f"{tmp}/pre.onnx",
                    f"{d}/model.onnx",
                    R(),
                    quant_format=QuantFormat.QDQ if f.startswith("qdq") else QuantFormat.QOperator,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8 if f.endswith("u8") else QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                )
            open(f"{d}/model.toml", "w").write(toml(name, spec))
    finally:
        logging.disable(level)
        shutil.rmtree(tmp, ignore_errors=True)
    return n


if __name__ == "__main__":
    a = sys.argv[1:]
    forms = FORMS
    if "--forms" in a:
        i = a.index("--forms")
        forms = tuple(a[i + 1].split(","))
        del a[i : i + 2]
    if not a:
        sys.exit(__doc__)
    os.makedirs(a[0], exist_ok=True)
    for name in a[1:] or NETS:
        write(a[0], name, forms=forms)
        print(
            name,
            *(f"{f}:{os.path.getsize(f'{a[0]}/{name}.{f}/model.onnx') // 1024} KiB" for f in forms),
            flush=True,
        )
