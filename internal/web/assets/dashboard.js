// What the pages cannot do without script: charts, local time, and saying that nothing is heard any
// more. Everything else is in the pages themselves.
"use strict";
{
	const $ = (id) => document.getElementById(id);
	const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
	const utc = (d) => d.toISOString().slice(0, 19).replace("T", " ") + " UTC";
	const zone = new Intl.DateTimeFormat("en", { timeZoneName: "short" });
	const local = (d) => `${d.toLocaleString("sv-SE")} ${zone.formatToParts(d).find((p) => p.type === "timeZoneName").value} local`;

	// Hearing. Each part of the page that is fetched again and again says how often in hx-trigger.
	const parts = [...document.querySelectorAll("[hx-trigger]")].map((node) => ({
		node, heard: Date.now(), failed: false, limit: 2.5 * parseInt(node.getAttribute("hx-trigger").slice(6)) * 1000 + 2000,
	}));
	let stale = false;
	const heard = (node, ok, status) => {
		const part = parts.find((p) => p.node === node);
		if (!part) return;
		if (ok && stale && node.id === "live") return location.reload(); // it may be another version now
		if (status === 401) return location.reload(); // to the login page
		part.failed = !ok;
		if (ok) part.heard = Date.now();
		judge();
	};
	const judge = () => {
		const gone = parts.filter((p) => p.failed || Date.now() - p.heard > p.limit);
		stale = gone.length > 0;
		document.body.classList.toggle("stale", stale);
		$("lost").hidden = !stale;
		if (!stale) return;
		const since = new Date(Math.min(...gone.map((p) => p.heard)));
		const text = `Not connected since ${utc(since)}, ${local(since)}. What you see is from then.`;
		if ($("lost").textContent !== text) $("lost").textContent = text;
	};
	document.body.addEventListener("htmx:afterRequest", (e) => {
		heard(e.target, e.detail.successful === true, e.detail.xhr.status);
		if (e.target.id === "charts" && e.detail.successful) load();
	});

	// The time. It goes on by itself between two answers, and stands still when there are none.
	let base = 0, mark = 0, last = "";
	const sync = () => {
		if ($("now")) [base, mark] = [Date.parse($("now").dateTime), performance.now()];
		const say = [$("state"), $("h-alarms")].map((n) => n ? n.textContent : "").join(" ");
		if (last && say !== last) $("announce").textContent = say;
		last = say;
		tick();
	};
	const tick = () => {
		if (stale || !$("now")) return;
		const d = new Date(base + performance.now() - mark);
		$("now").textContent = utc(d);
		$("local").textContent = local(d);
	};
	setInterval(() => { judge(); tick(); }, 250);
	document.addEventListener("pointerover", (e) => {
		const t = e.target.closest("time");
		if (t && !t.title) t.title = local(new Date(t.dateTime));
	});

	// What was opened stays open.
	const open = new Set();
	document.addEventListener("toggle", (e) => open[e.target.open ? "add" : "delete"](e.target.id), true);
	const reopen = () => open.forEach((id) => { if ($(id)) $(id).open = true; });
	document.body.addEventListener("htmx:afterSwap", (e) => { reopen(); if (e.target.id === "live") sync(); });
	document.body.addEventListener("htmx:oobAfterSwap", reopen);

	// Charts.
	const units = ["ns", "µs", "ms", "s"];
	const seconds = (v) => {
		if (v === 0) return "0";
		const i = Math.max(0, Math.min(3, 3 + Math.floor(Math.log10(Math.abs(v) * 1.0005) / 3)));
		return `${+(v * 1000 ** (3 - i)).toPrecision(3)} ${units[i]}`.replace("-", "−");
	};
	const number = (v, decimals) => v.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replaceAll(",", "\u202f").replace("-", "−");
	const say = (unit, v) => unit === "s" ? seconds(v) : unit === "ppm" ? number(v, 3) + " ppm" : number(v, Math.abs(v) < 10 ? 2 : Math.abs(v) < 100 ? 1 : 0) + unit;
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const unpack = (text) => {
		const [least, quantum, packed] = text.split(",");
		return (packed.match(/../g) || []).map((d) => d === ".." ? null : +least + quantum * (64 * digits.indexOf(d[0]) + digits.indexOf(d[1])));
	};
	const final = (values) => values.findLast((v) => v !== null);
	const typical = (p) => {
		const all = p.lines.flatMap((l) => l.e).filter((v) => v > 0).sort((a, b) => a - b);
		return all[all.length >> 1] || 1e-3;
	};
	const charts = new Map();

	const build = (id, p) => {
		const node = $("plot-" + id), soft = color("soft"), grid = { stroke: color("line"), width: 1 };
		const hue = (i) => p.lines.length > 4 ? `hsl(${i * 137.5 % 360} 60% ${matchMedia("(prefers-color-scheme: dark)").matches ? 70 : 40}%)` : color(["accent", "warn", "bad", "soft"][i]);
		const font = "12px system-ui, sans-serif";
		const series = p.lines.map((l, i) => ({
			label: l.label, stroke: hue(i), width: 1.6, points: { show: false },
			value: (u, v, k, at) => { v = at === null ? final(u.data[k]) : v; return v == null ? "–" : say(p.unit, v); },
		}));
		const y = {}, decades = { filter: (u, all) => all };
		if (id === "bound") {
			series.splice(1, 0, { label: "", stroke: color("accent"), width: 1.6, points: { show: false } });
			if (series[2]) Object.assign(series[2], { stroke: color("ink"), width: 1.2 });
			y.range = (u, low, high) => { const m = 1.1 * Math.max(Math.abs(low), Math.abs(high)) || 1; return [-m, m]; };
		} else if (id === "sources") {
			y.range = (u, low, high) => {
				p.lines.forEach((l, i) => u.data[i + 1].forEach((v, k) => {
					if (v !== null) { low = Math.min(low, v - (l.e[k] || 0)); high = Math.max(high, v + (l.e[k] || 0)); }
				}));
				const pad = (high - low) * .05 || 1;
				return [low - pad, high + pad];
			};
			Object.assign(y, { distr: 4, asinh: 10 ** Math.floor(Math.log10(typical(p))) });
			decades.splits = (u, i, low, high) => {
				const all = [0];
				for (let v = y.asinh; v < Math.max(-low, high); v *= 10) all.push(v, -v);
				return all.filter((v) => v >= low && v <= high).sort((a, b) => a - b);
			};
		} else if (id === "lead") {
			y.distr = 3;
			decades.splits = (u, i, low, high) => {
				const all = [];
				for (let e = Math.ceil(Math.log10(low)); 10 ** e <= high; e++) if (e % 2 === 0) all.push(10 ** e);
				return all;
			};
		} else if (id !== "frequency") {
			y.range = (u, low, high) => [0, 1.1 * high || 1];
		}
		const bars = (u) => {
			if (id !== "sources") return;
			u.ctx.save();
			u.ctx.globalAlpha = .35;
			u.ctx.lineWidth = devicePixelRatio;
			p.lines.forEach((l, i) => {
				u.ctx.strokeStyle = u.series[i + 1].stroke();
				u.ctx.beginPath();
				u.data[i + 1].forEach((v, k) => {
					if (v === null || !l.e[k]) return;
					const x = u.valToPos(u.data[0][k], "x", true) + (i - p.lines.length / 2) * .6 * devicePixelRatio;
					u.ctx.moveTo(x, u.valToPos(v - l.e[k], "y", true));
					u.ctx.lineTo(x, u.valToPos(v + l.e[k], "y", true));
				});
				u.ctx.stroke();
			});
			u.ctx.restore();
		};
		return new uPlot({
			width: node.clientWidth, height: 100, tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "UTC"), series: [{ label: "UTC", value: (u, t) => t === null ? "latest" : utc(new Date(t * 1000)).slice(5, 19) }, ...series],
			scales: { y }, bands: id === "bound" ? [{ series: [1, 2], fill: color("accent") + "26" }] : [], hooks: { draw: [bars] },
			cursor: { drag: { x: false }, focus: { prox: 20 }, points: { size: 6 } }, focus: { alpha: id === "sources" ? .25 : 1 },
			axes: [
				{ stroke: soft, grid: { show: false }, ticks: { ...grid, size: 5 }, font, space: 60, size: 28, values: (u, all) => all.map((t) => utc(new Date(t * 1000)).slice(...(p.step > 1800 ? [5, 10] : [11, 16]))) },
				{ stroke: soft, grid, ticks: { show: false }, font, size: 60, gap: 4, space: 30, values: (u, all, i, space, by) => all.map((v) => p.unit === "s" ? seconds(v) : number(v, Math.max(0, Math.ceil(-Math.log10(by) - .01)))), ...decades },
			],
		}, [[]], node);
	};
	const draw = (id, p) => {
		const node = $("plot-" + id), labels = p.lines.map((l) => l.label).join();
		let c = charts.get(id);
		if (!node || !p.lines.length) return;
		if (c && c.labels !== labels) { c.u.destroy(); c = null; }
		const data = p.lines.map((l) => { l.e = l.e ? unpack(l.e) : []; return unpack(l.v); });
		if (id === "bound") data.splice(1, 0, data[0].map((v) => v === null ? null : -v));
		if (id === "lead") data.forEach((d) => d.forEach((v, i) => { if (v !== null && v < 1e-9) d[i] = 1e-9; }));
		const at = data[0].map((_, i) => p.start + i * p.step);
		if (!c) charts.set(id, c = { id, u: build(id, p), labels, node });
		c.u.setData([at, ...data]);
		fit(c);
	};
	const fit = (c) => c.u.setSize({ width: c.node.clientWidth, height: c.id === "bound" || c.id === "sources" ? 230 : 140 });
	let told = null;
	const drawAll = () => { if (told) for (const id in told) draw(id, structuredClone(told[id])); };
	const load = async () => {
		const node = $("charts");
		try {
			const answer = await fetch("/ui/history?span=" + node.dataset.span, { signal: AbortSignal.timeout(5000) });
			if (answer.ok) { told = await answer.json(); drawAll(); }
			heard(node, answer.ok || answer.status === 503, answer.status); // 503: the page says what is wrong
		} catch { heard(node, false); }
	};
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
		charts.forEach((c) => c.u.destroy());
		charts.clear();
		drawAll();
	});
	new ResizeObserver(() => charts.forEach(fit)).observe($("charts"));
	sync();
	load();
}
