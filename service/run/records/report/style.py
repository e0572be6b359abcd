"""The look of a report: light and dark, on a screen and on paper."""

STYLE = """
:root{color-scheme:light dark;--ink:#1a1d21;--soft:#5c6570;--line:#d9dee4;--paper:#fff;--tile:#f4f6f8;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b4508c;--c4:#b07d00;--c5:#3a8fc4;--shade:#e69f00;--mark:#7a5af5}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4af;--line:#333a42;--paper:#14171a;--tile:#1d2125;
--c0:#4ea8de;--c1:#ff8c42;--c2:#3fc79a;--c3:#e08fc0;--c4:#e6b422;--c5:#8fc7ea;--mark:#a892ff}}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000}details>*{display:block}figure{break-inside:avoid}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1040px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 10px;border-bottom:1px solid var(--line)}
h3{font-size:15px;margin:18px 0 6px}p{margin:6px 0}.soft,footer{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:18px 0}
.tiles div{background:var(--tile);border-radius:6px;padding:8px 12px;display:flex;flex-direction:column;
justify-content:space-between}
.tiles dt{font-size:12px;color:var(--soft)}.tiles dd{margin:0;font-size:20px;font-variant-numeric:tabular-nums}
figure{margin:14px 0}figcaption{display:flex;flex-wrap:wrap;gap:4px 18px;justify-content:space-between;font-weight:600;
font-size:14px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-weight:400;font-size:13px;color:var(--soft)}
.key::before{content:"";display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle;
background:var(--c)}
.key.shade::before{height:11px;background:var(--shade);opacity:.35}.key.warmup::before,.key.Warmup::before,
.key.Settling::before{background:var(--soft)}
figure{overflow-x:auto}svg{display:block;width:100%;min-width:620px;height:auto}
.grid{stroke:var(--line);stroke-width:1}.tick,.layer{fill:var(--soft);font-size:11px}.layer{font-size:8px}
.line{fill:none;stroke:var(--c);stroke-width:1.6;stroke-linejoin:round}.dot{fill:var(--c)}
.band{fill:var(--shade);opacity:.18}.band.warmup,.band.Warmup,.band.Settling{fill:var(--soft)}
.band.manual,.key.shade.manual::before{fill:var(--c3);background:var(--c3)}
.mark{stroke:var(--mark);stroke-width:1.2;stroke-dasharray:4 3}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
image{image-rendering:pixelated}
.ramp{width:90px;height:11px;align-self:center;
background:linear-gradient(90deg,#440154,#3b528b,#21918c,#5ec962,#fde725)}
.previews{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(440px,100%),1fr));gap:0 16px}
.previews figure{margin:6px 0}.findings td:last-child{min-width:260px}.findings td:nth-child(3),
.text td:nth-child(4){min-width:200px}
.preview img{max-width:100%;height:auto;display:block}.preview figcaption{font-weight:400;color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;width:100%}
th{text-align:left;color:var(--soft);font-weight:600;white-space:nowrap}
th,td{padding:3px 12px 3px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
.text td:first-child{white-space:nowrap}
.numbers td,.numbers th{text-align:right;font-variant-numeric:tabular-nums}
summary{cursor:pointer;color:var(--soft);margin:6px 0}pre{white-space:pre-wrap}footer{margin-top:48px;font-size:13px}
"""
